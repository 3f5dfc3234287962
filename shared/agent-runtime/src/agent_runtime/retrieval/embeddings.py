"""Vectors of texts, by the configured provider's `/embeddings`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent_runtime.model_client import create_model_client
from agent_runtime.retrieval.settings import RetrievalSettings

if TYPE_CHECKING:
    import httpx2
    import numpy as np
    from numpy.typing import NDArray
    from openai import AsyncOpenAI

BATCH = 64
"""Texts of one request: few enough for a local server, enough for the round trips not to count."""
LONGEST_TEXT = 6000
"""Characters of a text that are embedded: models take 512 to 8192 tokens, refuse more, or cut it off themselves."""

_REFUSED = (400, 413, 422)


class EmbeddingError(Exception):
    """The provider gave no vectors; the text says why, without the texts that were sent.

    `refused` tells that it will not take these texts, today or tomorrow: too long, or not to its rules.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class Embeddings:
    """Makes vectors; one instance for one event loop. Close it with `aclose`."""

    def __init__(self, settings: RetrievalSettings, *, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        self.model = settings.embedding_name
        self.key = f"{self.model}|{settings.embedding_dimensions or ''}"
        """Vectors of one key can be compared."""
        self._dimensions = settings.embedding_dimensions
        self._settings = _client_settings(settings)
        self._transport = transport
        self._client: AsyncOpenAI | None = None

    async def embed(self, texts: Sequence[str], timeout: float | None = None) -> "NDArray[np.float32]":
        """One row of length 1 for each text.

        Raises:
            EmbeddingError: the provider did not answer in `timeout` seconds, or with an error, or with something else
                than a vector of one length for each text.
        """
        if self._client is None:
            self._client = create_model_client(self._settings, transport=self._transport)
        client = self._client if timeout is None else self._client.with_options(timeout=timeout, max_retries=0)
        try:
            answer = await client.embeddings.create(
                model=self.model,
                input=[text[:LONGEST_TEXT] for text in texts],
                encoding_format="float",  # base64, the package's own choice, is not known to every local server
                extra_body={"dimensions": self._dimensions} if self._dimensions else None,
            )
            rows = [one.embedding for one in sorted(answer.data, key=lambda one: one.index)]
            return _as_matrix(rows, len(texts))
        except Exception as error:  # of the network, the sign-in, the API, or a body that is not what it should be
            refused = getattr(error, "status_code", None) in _REFUSED
            raise EmbeddingError(
                f"{self.model}: {type(error).__name__}: {str(error)[:200]}", refused=refused
            ) from error

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()


def _as_matrix(rows: list[list[float]], expected: int) -> "NDArray[np.float32]":
    import numpy as np  # noqa: PLC0415 - 30 MB that only a hybrid search needs

    vectors = np.array(rows, dtype=np.float32)  # ValueError where lengths differ
    if vectors.ndim != 2 or len(vectors) != expected or not np.isfinite(vectors).all():
        raise ValueError(f"{len(rows)} embeddings came for {expected} texts, or broken ones")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)


def _client_settings(settings: RetrievalSettings) -> RetrievalSettings:
    if not settings.embedding_base_url:
        return settings
    # The chat model's key is for the chat model's server, and goes to no other.
    same = settings.embedding_base_url == settings.openai_base_url
    return settings.model_copy(
        update={
            "model_provider": "openai",
            "openai_base_url": settings.embedding_base_url,
            "openai_api_key": settings.embedding_api_key or (settings.openai_api_key if same else None),
            "openai_model": settings.embedding_model,
        }
    )
