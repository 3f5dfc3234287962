"""The messages that a run's events leave in a conversation, as `@ag-ui/client` 1.0 builds them: with the same ids, so
that a page which reads them from the server shows what a page that saw the stream shows.
"""

import json
from collections.abc import Iterable
from typing import Any

Message = dict[str, Any]
"""An AG-UI message, as JSON."""


def messages_of(events: Iterable[bytes]) -> list[Message]:
    """The messages of encoded events. A run that was cut leaves what it had said."""
    messages: dict[str, Message] = {}
    calls: dict[str, Message] = {}
    for encoded in events:
        event = json.loads(encoded.partition(b"data: ")[2])
        match event["type"]:
            case "TEXT_MESSAGE_START":
                messages[event["messageId"]] = {"id": event["messageId"], "role": "assistant", "content": ""}
            case "REASONING_MESSAGE_START":
                messages[event["messageId"]] = {"id": event["messageId"], "role": "reasoning", "content": ""}
            case "TEXT_MESSAGE_CONTENT" | "REASONING_MESSAGE_CONTENT":
                messages[event["messageId"]]["content"] += event["delta"]
            case "TOOL_CALL_START":
                call_id = event["toolCallId"]
                function = {"name": event["toolCallName"], "arguments": ""}
                calls[call_id] = {"id": call_id, "type": "function", "function": function}
                messages[call_id] = {"id": call_id, "role": "assistant", "toolCalls": [calls[call_id]]}
            case "TOOL_CALL_ARGS":
                calls[event["toolCallId"]]["function"]["arguments"] += event["delta"]
            case "TOOL_CALL_RESULT":
                messages[event["messageId"]] = {
                    "id": event["messageId"],
                    "role": "tool",
                    "toolCallId": event["toolCallId"],
                    "content": event["content"],
                }
            case "ACTIVITY_SNAPSHOT":
                messages[event["messageId"]] = {
                    "id": event["messageId"],
                    "role": "activity",
                    "activityType": event["activityType"],
                    "content": event["content"],
                }
    return list(messages.values())
