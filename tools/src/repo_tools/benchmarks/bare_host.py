"""The baseline of `deliveries`: the SDK's invocations host, which reads the body, does nothing, and answers 202."""

from agent_runtime.hosting import host_options, run_agent
from agent_runtime.settings import AgentSettings
from azure.ai.agentserver.invocations import InvocationAgentServerHost
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class BareHostSettings(AgentSettings):
    local_name = "bare-host"


def build_app(settings: BareHostSettings) -> InvocationAgentServerHost:
    host = InvocationAgentServerHost(**host_options(settings))

    async def accept(request: Request) -> Response:
        await request.body()
        return JSONResponse({"status": "queued"}, 202)

    host.invoke_handler(accept)
    return host


if __name__ == "__main__":
    run_agent(BareHostSettings, build_app)
