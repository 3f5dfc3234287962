"""The Responses API and chat completions as OpenAI's service speaks them: requests read, replies written.

Both APIs become the same `ModelRequest` and are written from the same `ModelReply`, streamed or not, so a model behind
`ModelTransport` knows neither. What cannot be honoured here is refused by name, never dropped in silence. Carrying
bytes is `model_transport`'s part.

Sources: https://platform.openai.com/docs/api-reference, sections responses, responses-streaming, chat, chat-streaming.
"""

from agent_runtime.model_wire.chat_api import ChatAnswer, parse_chat_request
from agent_runtime.model_wire.fields import WireError
from agent_runtime.model_wire.responses_api import ResponsesAnswer, parse_responses_request
from agent_runtime.model_wire.tokens import count_tokens, fit_to_limit, measure_usage

__all__ = [
    "ChatAnswer",
    "ResponsesAnswer",
    "WireError",
    "count_tokens",
    "fit_to_limit",
    "measure_usage",
    "parse_chat_request",
    "parse_responses_request",
]
