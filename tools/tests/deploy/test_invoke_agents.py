"""`deploy invoke` asks this repository's own agents, which run here behind a stand-in for their dedicated endpoints."""

import asyncio
import json

import pytest
from ag_ui_streamer.app import build_app as build_ag_ui_streamer
from ag_ui_streamer.settings import AgUiSettings
from agent_runtime.settings import load_settings
from agent_runtime.testing import serve
from langgraph_planner.app import build_app as build_planner
from langgraph_planner.settings import PlannerSettings

from .conftest import Deploy
from .service import FoundryService


async def test_the_planner_is_asked_in_the_background_and_its_approval_is_given(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(build_planner(load_settings(PlannerSettings))) as url:
        foundry.agents["langgraph-planner"] = url
        case = "Order NP-10274 arrived damaged, the customer wants the money back"
        asked = ["invoke", "langgraph-planner", case, "--background", "--interval", "0.05"]
        assert await asyncio.to_thread(deploy, *asked) == 0
        out = capsys.readouterr()
        assert "issue_refund cannot be undone and needs your approval" in out.out
        assert "it asks for your approval: issue_refund" in out.err
        # What it prints is what a person types next.
        (command,) = (line for line in out.err.splitlines() if "--approve" in line)
        answer = command.split("repo_tools deploy ")[1].split("   ")[0].split()
        assert await asyncio.to_thread(deploy, *answer) == 0
        assert "6 of 6 steps were done" in capsys.readouterr().out


async def test_a_response_that_was_let_go_is_followed_to_its_end(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    async with serve(build_planner(load_settings(PlannerSettings))) as url:
        foundry.agents["langgraph-planner"] = url
        asked = ["invoke", "langgraph-planner", "Order NP-10001 arrived with a torn seam.", "--background"]
        with monkeypatch.context() as patched:
            patched.setattr("repo_tools.deploy.command._write", interrupted)
            assert await asyncio.to_thread(deploy, *asked) == 130
        (again,) = (line for line in capsys.readouterr().err.splitlines() if "--resume" in line)
        assert await asyncio.to_thread(deploy, *again.split("with: deploy ")[1].split()) == 0
        out = capsys.readouterr()
        assert "is completed" in out.err
        assert len(out.out) > 20


async def test_the_streamer_is_asked_over_both_of_its_protocols(
    deploy: Deploy, foundry: FoundryService, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "How long can unworn boots be returned?"
    async with serve(build_ag_ui_streamer(load_settings(AgUiSettings))) as url:
        foundry.agents["ag-ui-streamer"] = url
        asked = ["invoke", "ag-ui-streamer", question, "--protocol", "responses"]
        assert await asyncio.to_thread(deploy, *asked) == 0
        assert "30 days" in capsys.readouterr().out
        run = {"threadId": "t1", "runId": "r1", "messages": [{"id": "1", "role": "user", "content": question}]}
        asked = ["invoke", "ag-ui-streamer", json.dumps(run), "--protocol", "invocations"]
        assert await asyncio.to_thread(deploy, *asked) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert (lines[0]["type"], lines[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
