"""`openai.AsyncOpenAI` that sends the input of a response as it is.

The package walks through every item of `input` and tries it against each of some forty item types, to find fields to
rename or to encode; for items that are plain JSON there are none. It takes about a millisecond an item, so that a long
conversation spends more time there than anywhere else (`make bench` shows the ratio). What is not plain is left to it.

Imported with the first client only: the package is most of an agent's memory.
"""

from functools import cached_property
from typing import Any

from openai import AsyncOpenAI, Omit
from openai.resources.responses import AsyncResponses


class PlainInputClient(AsyncOpenAI):
    @cached_property
    def responses(self) -> AsyncResponses:
        return _PlainInputResponses(self)


class _PlainInputResponses(AsyncResponses):
    async def create(self, *, input: Any = Omit(), extra_body: Any = None, **options: Any) -> Any:  # noqa: B008
        if isinstance(input, list) and extra_body is None and all(_is_plain(item) for item in input):
            return await super().create(extra_body={"input": input}, **options)
        return await super().create(input=input, extra_body=extra_body, **options)


def _is_plain(value: Any) -> bool:
    """Whether `value` is JSON already: no models, no files, no other objects."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
