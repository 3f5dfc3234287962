"""What the agents tell an exporter, and that the workbook and the alerts ask for nothing else.

Each agent runs with an OTLP exporter to a collector in this process, answers once with its model and once without, and
stops. What arrived is what Application Insights would get: its exporter keeps attributes as `customDimensions` and writes
the name of the logger there as `logger_name` (azure-monitor-opentelemetry-exporter, `_convert_log_to_envelope`).
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
from agent_runtime.testing.process import AgentProcess
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "infra/resources"
WORKBOOK = json.loads((LAYER / "modules/workbook.json").read_text(encoding="utf-8"))
QUESTION = "How long can unworn boots be returned? Order NP-10001 arrived with a torn seam."
ALWAYS = {"agent_runtime.hosting.access_log", "agent_runtime.hosting.running", "agent_runtime.model_usage"}
EVERY = ("rag_chat", "webhook_extractor", "langgraph_planner", "ag_ui_streamer")
AGENTS = [name for name in EVERY if find_spec(name)]  # an ejected project has one of them

Seen = dict[str, dict[str, Any]]
"""Of each logger, the attributes of its records, each with a value that it had."""


class Collector(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.seen: Seen = defaultdict(dict)
        self.agents: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/logs"):
            assert isinstance(self.server, Collector)
            self._take(ExportLogsServiceRequest.FromString(body), self.server)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _take(self, request: ExportLogsServiceRequest, collector: Collector) -> None:
        for resource in request.resource_logs:
            name = next(each.value.string_value for each in resource.resource.attributes if each.key == "service.name")
            collector.agents.add(name)
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    found = {each.key: each.value for each in record.attributes}
                    collector.seen[scope.scope.name].update(found)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def ask(agent: AgentProcess) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        if agent.module == "webhook_extractor":
            await client.post(f"{agent.url}/invocations", content=QUESTION, headers={"content-type": "text/plain"})
        else:
            await client.post(f"{agent.url}/responses", json={"input": QUESTION})


async def told(module: str, collector: Collector, **env: str) -> Seen:
    name = module.replace("_", "-")
    exporter = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "FOUNDRY_AGENT_NAME": name,
        "FOUNDRY_AGENT_VERSION": "3",
    }
    async with AgentProcess(module, env=exporter | env) as agent:
        await ask(agent)
    assert collector.agents == {name}
    return collector.seen


def asked_for() -> dict[str, str]:
    """The queries of the workbook and of the alerts."""
    found = {path.name: path.read_text(encoding="utf-8") for path in LAYER.glob("modules/*.kql")}
    for item in WORKBOOK["items"]:
        if item["type"] == 3:
            found[item["name"]] = item["content"]["query"]
    return found


def attributes_in(query: str) -> set[str]:
    return set(re.findall(r'customDimensions\["([^"]+)"\]', query)) - {"logger_name"}


def loggers_in(query: str) -> set[str]:
    return set(re.findall(r'"(agent_runtime\.(?:hosting\.)?[a-z_]+)"(?!\])', query))


@pytest.mark.parametrize("module", AGENTS)
async def test_an_agent_sends_what_the_workbook_and_the_alerts_ask_for(module: str, collector: Collector) -> None:
    seen = await told(module, collector)
    assert seen.keys() >= ALWAYS
    sent = {name for attributes in seen.values() for name in attributes}
    wanted = {name for query in asked_for().values() for name in attributes_in(query)}
    assert len(wanted) > 8
    assert wanted - sent <= {"error.type"}, "nothing has failed"
    assert seen["agent_runtime.hosting.access_log"]["http.response.status_code"].int_value == 200
    assert seen["agent_runtime.hosting.running"]["process.uptime"].double_value > 0
    assert seen["agent_runtime.model_usage"]["gen_ai.usage.input_tokens"].int_value > 0
    assert seen["agent_runtime.model_usage"]["gen_ai.agent.version"].string_value == "3"
    values = [str(value) for attributes in seen.values() for value in attributes.values()]
    assert not any("torn seam" in value for value in values), "no text of a request"


@pytest.mark.parametrize(
    "module", [name for name in AGENTS if name != "webhook_extractor"]
)  # it ends in an error record
async def test_a_model_that_cannot_be_reached_shows_as_a_failure(module: str, collector: Collector) -> None:
    seen = await told(
        module, collector,
        MODEL_PROVIDER="openai", OPENAI_BASE_URL="http://127.0.0.1:9/v1", MODEL_NAME="none", MODEL_MAX_RETRIES="0",
    )  # fmt: skip
    assert {str(each["error.type"].string_value) for each in seen.values() if "error.type" in each} == {
        "model_unavailable"
    }


@pytest.mark.parametrize("name", sorted(asked_for()))
def test_a_query_reads_loggers_that_are_there_and_tables_that_logs_go_to(name: str) -> None:
    query = asked_for()[name]
    assert loggers_in(query) <= ALWAYS
    assert re.match(r"(?:traces|union traces, exceptions)\n\| where|union traces, exceptions\n\| extend", query)
    assert query.count("(") == query.count(")")
    assert query.count("[") == query.count("]")
    parameters = {
        each["name"] for item in WORKBOOK["items"] if item["type"] == 9 for each in item["content"]["parameters"]
    }
    used = {each.partition(":")[0] for each in re.findall(r"\{(\w+(?::\w+)?)\}", query)}
    assert used <= parameters | {"threshold"}
    assert ("threshold" in used) == name.endswith(".kql")


def test_the_workbook_has_what_an_operator_looks_for() -> None:
    assert WORKBOOK["version"] == "Notebook/1.0"
    titles = {line for item in WORKBOOK["items"] if item["type"] == 1 for line in item["content"]["json"].splitlines()}
    assert {"## Requests", "## Failures", "## Tokens", "## Cold starts"} <= titles
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(names) == len(set(names))
    assert any("Latency" in name for name in names)
    for item in WORKBOOK["items"]:
        if item["type"] == 3:
            assert item["content"]["timeContextFromParameter"] == "Time"
            assert item["content"]["resourceType"] == "microsoft.insights/components"
