"""Direct calls: what `azd ai agent invoke` sends is answered with the record; bad input gets a 4xx with a code."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from agent_runtime.testing.azd_invoke import AgentFailed, AzdLocalInvoke
from agent_runtime.testing.scripted_model import Failure, Hang, ScriptedModel
from support_desk.cases import SupportCase

TEXT = "Order NP-10001 arrived with a torn seam. Please send a replacement."


async def test_azd_prints_the_record_of_a_plain_text_message(agent: Any) -> None:
    async with agent() as deliveries:
        record = json.loads(await AzdLocalInvoke(deliveries.url).invocations(TEXT))
        assert record["status"] == "completed"
        case = SupportCase.model_validate(record["result"])
        assert (case.channel, case.order_id) == ("direct", "NP-10001")


@pytest.mark.parametrize("message", [json.dumps({"message": TEXT, "name": "Ines"}), json.dumps(TEXT)])
async def test_azd_prints_the_record_of_a_json_message(agent: Any, message: str) -> None:
    async with agent() as deliveries:
        record = json.loads(await AzdLocalInvoke(deliveries.url).invocations(message))
        assert record["result"]["order_id"] == "NP-10001"


async def test_azd_reports_a_failed_model_call_as_an_error(agent: Any) -> None:
    model = ScriptedModel(lambda _: Failure(status=500))
    async with agent(model, DIRECT_MAX_ATTEMPTS="2") as deliveries:
        with pytest.raises(AgentFailed, match="model_unavailable") as failed:
            await AzdLocalInvoke(deliveries.url).invocations(TEXT)
        assert "upstream" not in str(failed.value)
        assert len(model.requests) == 2


async def test_azd_polls_when_the_result_takes_longer_than_one_request_may(agent: Any, answer: Any) -> None:
    model = ScriptedModel(lambda _: Hang(reply=answer(category="delivery")))
    async with agent(model, MAX_WAIT_SECONDS="0.1") as deliveries:
        call = asyncio.create_task(AzdLocalInvoke(deliveries.url).invocations(TEXT))
        await asyncio.wait_for(model.hanging.wait(), 10)
        await asyncio.sleep(0.2)
        model.release()
        assert json.loads(await asyncio.wait_for(call, 20))["result"]["category"] == "delivery"


async def test_a_caller_may_decline_to_wait(agent: Any) -> None:
    async with agent() as deliveries:
        answer = await deliveries.client.post("/invocations", content=TEXT, headers={"prefer": "respond-async"})
        assert answer.status_code == 202
        assert (await deliveries.ended(answer.json()["invocation_id"]))["status"] == "completed"


async def test_the_status_url_names_the_session_again(agent: Any) -> None:
    async with agent() as deliveries:
        answer = await deliveries.client.post(
            "/invocations?agent_session_id=s%201", content=TEXT, headers={"prefer": "wait=0"}
        )
        assert answer.json()["status_url"].endswith("?agent_session_id=s%201")


async def test_a_caller_who_names_the_invocation_may_repeat_it(agent: Any) -> None:
    async with agent() as deliveries:
        headers = {"x-agent-invocation-id": "my-own-1"}
        first = await deliveries.client.post("/invocations", content=TEXT, headers=headers)
        again = await deliveries.client.post("/invocations", content=TEXT, headers=headers)
        other = await deliveries.client.post("/invocations", content="other", headers=headers)
        assert first.json()["invocation_id"] == "my-own-1"
        assert again.json() == first.json()
        assert (other.status_code, other.json()["error"]["code"]) == (409, "delivery_conflict")


async def test_no_caller_can_take_the_place_of_a_delivery(agent: Any) -> None:
    async with agent() as deliveries:
        taken = (await deliveries.github()).json()["invocation_id"]
        for name in (taken, taken[:-1] + "0"):
            answer = await deliveries.client.post("/invocations", content=TEXT, headers={"x-agent-invocation-id": name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invocation_id_reserved")


async def test_a_users_record_is_not_there_for_another_user(agent: Any) -> None:
    async with agent() as deliveries:
        alice, bob = ({"x-agent-user-id": name} for name in ("alice", "bob"))
        record = (await deliveries.client.post("/invocations", content=TEXT, headers=alice)).json()
        path = f"/invocations/{record['invocation_id']}"
        assert (await deliveries.client.get(path, headers=alice)).json() == record
        for headers in (bob, {}):
            hidden = await deliveries.client.get(path, headers=headers)
            assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, "invocation_not_found")
            assert (await deliveries.client.post(f"{path}/cancel", headers=headers)).status_code == 404


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b"not JSON", 400, "invalid_json"),
        ("application/json", b"{", 400, "invalid_json"),
        ("application/json", b'"open', 400, "invalid_json"),
        ("application/json", b"", 400, "empty_body"),
        ("text/plain", b"", 400, "empty_body"),
        ("text/plain", b"  \n", 400, "empty_body"),
        ("application/json", b'""', 400, "empty_body"),
        ("application/json", b"123", 400, "not_an_object"),
        ("application/json", b"null", 400, "not_an_object"),
        ("application/json", b"[]", 400, "not_an_object"),
        ("application/json", b"[" * 100_000, 400, "too_deeply_nested"),
        ("application/json", b'{"a":' * 100 + b"1" + b"}" * 100, 400, "too_deeply_nested"),
        ("application/json", b'{"message": "\xff"}', 400, "invalid_utf8"),
        ("application/json", b'"\xff"', 400, "invalid_utf8"),
        ("text/plain", b"\xff\xfe", 400, "invalid_utf8"),
        ("application/json", b'{"message": NaN}', 400, "invalid_json"),
        ("application/json", b'{"message": "\\ud800"}', 400, "invalid_json"),
        ("application/json", b'"\\ud800"', 400, "invalid_json"),
        ("application/json", b"{}", 422, "invalid_payload"),
        ("application/json", b'{"message": 5}', 422, "invalid_payload"),
        ("application/json", b'{"message": " "}', 422, "invalid_payload"),
        ("application/json", b'{"message": "m", "order_id": ["NP-10001"]}', 422, "invalid_payload"),
        ("application/json", b'{"message": "m", "mesage": "typing error"}', 422, "invalid_payload"),
        ("application/xml", b"<a/>", 415, "unsupported_media_type"),
        ("text/plain", b"x" * 2_000_000, 413, "request_too_large"),
    ],
)  # fmt: skip
async def test_bad_input_gets_a_4xx_with_a_code_and_the_server_stays_up(
    agent: Any, content_type: str, body: bytes, status: int, code: str
) -> None:
    async with agent() as deliveries:
        answer = await deliveries.client.post("/invocations", content=body, headers={"content-type": content_type})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert (await deliveries.client.get("/readiness")).status_code == 200


async def test_a_body_over_the_limit_is_refused_while_it_is_read(agent: Any) -> None:
    sent = 0

    async def fifty_megabytes() -> Any:
        nonlocal sent
        for _ in range(800):
            sent += 65_536
            yield b"x" * 65_536

    async with agent() as deliveries:
        answer = await deliveries.client.post("/invocations", content=fifty_megabytes())
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/invocations/unknown", 404, "invocation_not_found"),
        ("/invocations/whd_0000", 404, "invocation_not_found"),
        ("/invocations/%00%FF", 400, "invalid_invocation_id"),
        ("/invocations/a%0D%0Ax-injected:%201", 400, "invalid_invocation_id"),
        ("/invocations/%E2%82%AC", 400, "invalid_invocation_id"),
        ("/invocations/" + "a" * 300, 400, "invalid_invocation_id"),
        ("/invocations/'%20or%201=1--", 400, "invalid_invocation_id"),
    ],
)
async def test_ids_that_are_unknown_or_no_ids_are_refused_with_a_code(
    agent: Any, path: str, status: int, code: str
) -> None:
    async with agent() as deliveries:
        for answer in (await deliveries.client.get(path), await deliveries.client.post(f"{path}/cancel")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
            assert "x-injected" not in answer.headers


async def test_the_wait_is_bounded_whatever_is_preferred(agent: Any) -> None:
    model = ScriptedModel(lambda _: Hang())
    async with agent(model, MAX_WAIT_SECONDS="0.2") as deliveries:
        for prefer in ("wait=999999", "wait=", "wait=-1", "wait=x, respond-async", "", "wait=1e9"):
            answer: httpx2.Response = await deliveries.client.post(
                "/invocations", content=TEXT, headers={"prefer": prefer}, timeout=10
            )
            assert answer.status_code == 202
        model.release()


async def test_an_id_that_is_none_is_refused_and_not_replaced_by_another(agent: Any) -> None:
    async with agent() as deliveries:
        for wanted in ("a b", "a/b", "x" * 257):
            answer = await deliveries.client.post(
                "/invocations", json={"message": "Where is it?"}, headers={"x-agent-invocation-id": wanted}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_invocation_id")
