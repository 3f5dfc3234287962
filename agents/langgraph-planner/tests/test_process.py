"""The planner as its users run it: a process that is stopped while it works."""

import asyncio

import openai
from agent_runtime.testing.process import AgentProcess
from agent_runtime.testing.scripted_model import Hang, ScriptedModel


async def test_a_run_that_a_stop_cuts_is_failed_and_not_in_progress_for_ever() -> None:
    model = ScriptedModel()
    model.enqueue(Hang())
    async with model.serve() as base_url:
        environment = {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "scripted"}
        agent = AgentProcess("langgraph_planner", env=environment)
        async with agent, openai.AsyncOpenAI(base_url=agent.url, api_key="unused", max_retries=0) as client:
            response = await client.responses.create(model="any", input="Points are missing.", background=True)
            await asyncio.wait_for(model.hanging.wait(), 20)
            assert await agent.terminate() in {0, -15}
            await agent.start()
            stored = await client.responses.retrieve(response.id)
    assert stored.status == "failed"
    assert stored.error is not None
    assert stored.error.code == "server_shutdown"


async def test_the_planner_idles_below_120_megabytes_and_stops_cleanly() -> None:
    async with AgentProcess("langgraph_planner") as agent:
        assert agent.rss_mb() < 120
        await agent.terminate()
    assert "Traceback" not in agent.output()
