"""What `streams` measures, each a process of its own: the SDK's invocations host that yields bytes which are encoded
before, and ag-ui-streamer with an assistant that says words without a model. Both say `EVENTS` words, `PAUSE` seconds
apart.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

from agent_runtime.hosting import host_options, run_agent
from agent_runtime.settings import AgentSettings
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_EVENTS = int(os.environ.get("EVENTS", "200"))
_PAUSE = float(os.environ.get("PAUSE", "0"))


class BareStreamSettings(AgentSettings):
    local_name = "bare-stream"


def bare_host(settings: BareStreamSettings) -> InvocationAgentServerHost:
    host = InvocationAgentServerHost(**host_options(settings))
    fields = {"type": "TEXT_MESSAGE_CONTENT", "messageId": f"msg_{'0' * 32}", "delta": "word 100 "}
    event = f"data: {json.dumps(fields, separators=(',', ':'))}\n\n".encode()
    last = b'data: {"type":"RUN_FINISHED"}\n\n'

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(_EVENTS):
            await asyncio.sleep(_PAUSE)
            yield event
        yield last

    async def invoke(request: Request) -> Response:
        await request.body()
        return StreamingResponse(stream(), media_type="text/event-stream")

    host.invoke_handler(invoke)
    return host


def streamer() -> None:
    # Only this process needs the agent.
    from ag_ui_streamer import agent, app  # noqa: PLC0415
    from ag_ui_streamer.__main__ import THREAD_TURN_SECONDS  # noqa: PLC0415
    from ag_ui_streamer.progress import Finished, Progress, TextDelta  # noqa: PLC0415
    from ag_ui_streamer.settings import AgUiSettings  # noqa: PLC0415

    class Speaker(agent.Assistant):
        async def run(self, conversation: Any, **_: Any) -> AsyncIterator[Progress]:
            mark = conversation[-1]["content"]
            for number in range(_EVENTS):
                await asyncio.sleep(_PAUSE)
                yield TextDelta(f"{mark} {number} ")
            yield Finished()

    sys.setswitchinterval(THREAD_TURN_SECONDS)
    with patch.object(app, "Assistant", Speaker):
        run_agent(AgUiSettings, app.build_app)


if __name__ == "__main__":
    if sys.argv[1:] == ["bare"]:
        run_agent(BareStreamSettings, bare_host)
    else:
        streamer()
