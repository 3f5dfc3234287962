"""What a response repeats of its request, and the model it names: the host leaves these fields empty.

`metadata`, `previous_response_id` and `model` are how clients find their responses again and know what answered them.
`tests/test_sdk_workarounds.py` fails when the host fills them in by itself.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from rag_chat.cited_events import Event

_REPEATED = ("metadata", "previous_response_id")


async def with_request_fields(
    events: AsyncIterator[Event], request: Mapping[str, Any], model: str
) -> AsyncIterator[Event]:
    repeated = {name: request[name] for name in _REPEATED if request.get(name) is not None}
    async for event in events:
        if "response" in event:
            yield {**event, "response": {**event["response"], **repeated, "model": model}}
        else:
            yield event
