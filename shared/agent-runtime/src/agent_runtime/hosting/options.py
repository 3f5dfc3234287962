"""The keyword arguments that every SDK host of ours is built with: quiet by default, telemetry where it has a target.

Left to itself the SDK writes telemetry as JSON to the console, asks a statistics endpoint on the internet, and records
prompts and answers in traces. Here telemetry needs an exporter that is configured, and recording must be asked for;
hosted, Application Insights gets tokens of the agent's identity, because the one of `infra/` takes no keys.
"""

import os
from typing import Any

from agent_runtime.settings import AgentSettings

_EXPORTERS = (
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
)
_CAPTURE_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def host_options(settings: AgentSettings) -> dict[str, Any]:
    """Arguments for any SDK host: `Host(**host_options(settings))`. Sets defaults of variables that the SDK reads
    while it is built, so call it first."""
    os.environ.setdefault("MICROSOFT_OTEL_SDKSTATS_DISABLED", "true")
    os.environ.setdefault("AZURE_AI_AGENTSERVER_DISABLE_EXPERIMENTAL_WARNING", "true")
    os.environ.setdefault(_CAPTURE_CONTENT, "false")
    if settings.hosted:
        os.environ.setdefault("APPLICATIONINSIGHTS_AUTH_MODE", "entra")
    os.environ["SSE_KEEPALIVE_INTERVAL"] = str(settings.sse_keepalive_seconds)
    return {
        "configure_observability": _configure_observability if telemetry_configured() else None,
        "access_log": None,
        "log_level": settings.log_level.upper(),
        "graceful_shutdown_timeout": settings.graceful_shutdown_seconds,
    }


def telemetry_configured() -> bool:
    """Whether the environment names a place to send telemetry to."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(os.environ.get(name) for name in _EXPORTERS)


def _configure_observability(
    *, connection_string: str | None = None, log_level: str | None = None, enable_sensitive_data: bool = False
) -> None:
    from azure.ai.agentserver.core import configure_observability  # noqa: PLC0415

    asked = os.environ.get(_CAPTURE_CONTENT, "").lower() in {"true", "1"}
    configure_observability(
        connection_string=connection_string,
        log_level=log_level,
        enable_sensitive_data=enable_sensitive_data and asked,
    )
