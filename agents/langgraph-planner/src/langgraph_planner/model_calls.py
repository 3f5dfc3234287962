"""Asks the model for a JSON document of a given schema. Everything that can go wrong becomes a `ModelError`."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent_runtime.model_client import create_model_client
from agent_runtime.model_errors import ModelError, translate_model_error

from langgraph_planner.settings import PlannerSettings

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI


_CHARACTERS_A_TOKEN = 4
"""For a server that does not count: about what English takes (OpenAI, "What are tokens and how to count them")."""


@dataclass(frozen=True, slots=True)
class Filled:
    document: dict[str, Any]
    tokens: int
    """Input and output of the call together, as the server counts them."""


class Model:
    """One client for all runs. `transport` replaces the network below it, for tests."""

    def __init__(self, settings: PlannerSettings, *, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        self._settings = settings
        self._transport = transport

    @cached_property
    def _client(self) -> "AsyncOpenAI":
        # Made with the first call: the client library is 25 MB that an idle agent does not need.
        return create_model_client(self._settings, transport=self._transport)

    async def fill(self, instructions: str, text: str, name: str, schema: dict[str, Any]) -> Filled:
        """A document that fits `schema`, from `text`.

        Raises:
            ModelError: when the model cannot be asked, or answers with something else.
        """
        try:
            response = await self._client.responses.create(
                model=self._settings.model,
                instructions=instructions,
                input=text,
                text={"format": {"type": "json_schema", "name": name, "schema": schema, "strict": True}},
                store=False,
            )
        except Exception as error:
            raise translate_model_error(error) from error
        if response.status == "failed":
            raise ModelError("model_failed")
        try:
            document = json.loads(response.output_text)
        except ValueError:
            raise ModelError("model_invalid_response") from None
        if not isinstance(document, dict):
            raise ModelError("model_invalid_response")
        if response.usage is not None:
            return Filled(document, response.usage.total_tokens)
        characters = len(instructions) + len(text) + len(json.dumps(schema)) + len(response.output_text)
        return Filled(document, characters // _CHARACTERS_A_TOKEN)
