"""What a caller may decide about an answer, and what only the agent decides.

The host passes every field of the request that it does not know to the model: `tools`, `instructions`, `model` and
whatever a provider understands. Here only the options below pass, within limits; what a request may hold at all is
checked before the agent is asked.
"""

from collections.abc import Callable, Mapping
from typing import Any

from agent_runtime.hosting.errors import BadRequest
from agent_runtime.hosting.json_body import parse_json_object
from agent_runtime.hosting.responses import check_responses_request

_TOOL_CHOICES = ("auto", "none", "required")
_FEWEST_TOKENS = 16  # the least that the Responses API takes


def allowed_options(most_tokens: int) -> Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]:
    """The host's hook `prepare_options`: `temperature`, `top_p`, `max_output_tokens` and `tool_choice`, nothing else.

    The host has renamed them before, `max_output_tokens` to `max_tokens`. Values are brought within the limits, not
    refused: what this hook raises would end as an internal error.
    """

    def prepare(request: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        allowed = {name: options[name] for name in ("temperature", "top_p") if options.get(name) is not None}
        if options.get("max_tokens") is not None:
            allowed["max_tokens"] = max(_FEWEST_TOKENS, min(int(options["max_tokens"]), most_tokens))
        choice = options.get("tool_choice")
        if isinstance(choice, str) and choice in _TOOL_CHOICES:
            allowed["tool_choice"] = choice
        return allowed

    return prepare


def check_question(raw: bytes) -> None:
    """The rule for POST /responses: what every agent checks, and that the input is text by the user, nothing else.

    A tool's output in the input would be taken for a search result, and cited.

    Raises:
        BadRequest: what is wrong, with the field in `param`.
    """
    check_responses_request(raw)
    items = parse_json_object(raw)["input"]
    if isinstance(items, str):
        return
    for number, item in enumerate(items):
        if item.get("type", "message") != "message":
            message = "This agent takes messages with text only. Earlier turns are known by their id."
            raise BadRequest("unsupported_input_item", message, param=f"input[{number}].type")
        parts = item["content"] if isinstance(item["content"], list) else []
        for place, part in enumerate(parts):
            if part["type"] != "input_text":
                message = "This agent reads text only: send parts of the type 'input_text'."
                raise BadRequest("unsupported_content", message, param=f"input[{number}].content[{place}].type")
