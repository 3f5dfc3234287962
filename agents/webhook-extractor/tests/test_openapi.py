"""The OpenAPI document says what the agent does."""

import json
import os
import subprocess
import sys
from asyncio import to_thread
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from agent_runtime.testing.process import AgentProcess


async def document(deliveries: Any) -> dict[str, Any]:
    answer: httpx2.Response = await deliveries.client.get("/invocations/docs/openapi.json")
    assert answer.status_code == 200
    spec: dict[str, Any] = answer.json()
    return spec


def check(spec: dict[str, Any], path: str, method: str, answer: httpx2.Response) -> None:
    """The answer's status is documented, and its body fits the schema."""
    response = spec["paths"][path][method]["responses"][str(answer.status_code)]
    schema = response["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), schema, format_checker=jsonschema.FormatChecker())


async def test_the_example_of_the_document_works_when_it_is_posted(agent: Any) -> None:
    async with agent() as deliveries:
        spec = await document(deliveries)
        for media_type, content in spec["paths"]["/invocations"]["post"]["requestBody"]["content"].items():
            if "cloudevents" in media_type:
                continue  # needs a token
            example = content["example"]
            jsonschema.validate(example, content["schema"])
            body = json.dumps(example) if media_type == "application/json" else example
            answer = await deliveries.client.post("/invocations", content=body, headers={"content-type": media_type})
            assert answer.status_code == 200
            check(spec, "/invocations", "post", answer)
            assert answer.json()["result"]["order_id"] == "NP-10001"


async def test_schemathesis_finds_nothing_between_the_document_and_the_running_agent(tmp_path: Path) -> None:
    """Every operation, all checks, in the phases examples, coverage, fuzzing and stateful; nothing is excluded.

    Signed sources are on, so that their headers lead somewhere; valid signatures are for the other tests.
    """
    secrets = {"GITHUB_WEBHOOK_SECRET": "s", "STRIPE_WEBHOOK_SECRET": "s", "STANDARD_WEBHOOKS_SECRET": "whsec_QUJD"}
    environment = secrets | {"AGENTSERVER_STATE_ROOT": str(tmp_path / "state"), "MAX_WAIT_SECONDS": "2"}
    async with AgentProcess("webhook_extractor", env=environment) as agent:
        done = await to_thread(
            subprocess.run,
            [
                sys.executable, "-m", "schemathesis.cli", "run", f"{agent.url}/invocations/docs/openapi.json",
                "--seed", "1", "--max-examples", "15", "--generation-database", "none", "--no-color",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=110, env=os.environ | {"NO_PROXY": "*"},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 selected / 4 total" in done.stdout


async def test_the_document_has_no_references_because_azd_follows_none(agent: Any) -> None:
    async with agent() as deliveries:
        assert "$ref" not in json.dumps(await document(deliveries))


async def test_answers_fit_the_document(agent: Any, contact: Any) -> None:
    async with agent() as deliveries:
        spec = await document(deliveries)
        contact["data"]["message"] += " It is about NP-10009."
        done = await deliveries.contact(contact, prefer="wait=20")
        invocation_id = done.json()["invocation_id"]
        for answer in (
            done,
            await deliveries.contact(contact),
            await deliveries.contact({"type": "other"}, delivery="msg_2"),
            await deliveries.contact(b"{}", delivery="msg_3"),
            await deliveries.contact(b"{"),
            await deliveries.contact(secret="whsec_" + "QUJD" * 8),
        ):
            check(spec, "/invocations", "post", answer)
        one = "/invocations/{invocation_id}"
        for path in (invocation_id, "unknown", "%00"):
            check(spec, one, "get", await deliveries.client.get(f"/invocations/{path}"))
            check(spec, f"{one}/cancel", "post", await deliveries.client.post(f"/invocations/{path}/cancel"))


def test_the_check_of_answers_can_fail() -> None:
    spec = {
        "paths": {
            "/": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}}}}
        }
    }
    with pytest.raises(jsonschema.ValidationError):
        check(spec, "/", "get", httpx2.Response(200, json=[]))
