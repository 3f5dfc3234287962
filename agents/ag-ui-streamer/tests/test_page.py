"""The page in a real browser: Chromium without a window, driven by Playwright.

The browser is found by the variable CHROMIUM, on the PATH, or where `playwright install chromium` puts it. Screenshots
go to the folder SCREENSHOTS, where that is set.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.model_exchange import ModelReply, ModelRequest, ToolCall
from agent_runtime.testing import AgentProcess, Failure, Hang, ScriptedModel
from playwright.async_api import Browser, Page, async_playwright, expect

PAGE = Path(__file__).parents[1] / "page"
BUILT = Path(__file__).parents[1] / "src" / "ag_ui_streamer" / "page"
REFUND = {"order_id": "NP-10274", "amount": "1.50", "currency": "CHF", "reason": "damaged", "note": None}
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


pytestmark = pytest.mark.xdist_group("browser")
expect.set_options(timeout=15_000)
with_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node 20 or newer")


def model() -> ScriptedModel:
    """Calls the tool that the user's words name, and tells what came of it."""

    def answer(request: ModelRequest) -> Any:
        last = request.messages[-1]
        if last.role == "tool":
            said = json.loads(last.text).get("summary", last.text)
            return ModelReply(f"It said: {said}", reasoning="The tool has answered.")
        words = last.text.lower()
        if "refund" in words:
            return [ToolCall("call_refund", "issue_refund", json.dumps(REFUND))]
        if "dark" in words:
            return [ToolCall("call_theme", "change_theme", '{"theme": "dark"}')]
        if "order" in words:
            return [ToolCall("call_order", "lookup_order", '{"order_id": "NP-10274"}')]
        if "fail" in words:
            return "This time it works." if scripted.requests[1:] else Failure()
        if "slowly" in words:
            return Hang(after=3, reply=f"One two three. {'And so on. ' * 100} And here it ends.")
        return "Good **morning**. <script>document.title = 'taken'</script>"

    scripted = ScriptedModel(answer)
    return scripted


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to sandbox for root
    async with async_playwright() as playwright:
        installed = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        executable = installed or playwright.chromium.executable_path
        if shutil.which(executable) is None:
            pytest.skip("needs Chromium: set CHROMIUM, or run `playwright install chromium`")
        browser = await playwright.chromium.launch(executable_path=executable, args=QUIET + sandbox)
        yield browser
        await browser.close()


@pytest.fixture
async def desk() -> AsyncIterator[tuple[ScriptedModel, AgentProcess]]:
    scripted = model()
    async with scripted.serve() as base_url:
        environment = {"OPENAI_BASE_URL": base_url, "MODEL_NAME": "m", "SSE_KEEPALIVE_INTERVAL": "1"}
        async with AgentProcess("ag_ui_streamer", env=environment) as agent:
            yield scripted, agent


@pytest.fixture
async def page(browser: Browser, desk: tuple[ScriptedModel, AgentProcess]) -> Page:
    return await opened(browser, desk[1])


async def opened(browser: Browser, agent: AgentProcess, **options: Any) -> Page:
    page = await browser.new_page(viewport=options.pop("viewport", {"width": 1280, "height": 800}), **options)
    page.set_default_timeout(15_000)
    await page.goto(agent.url)
    return page


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Your message").fill(text)
    await page.keyboard.press("Enter")


async def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png")


def status(page: Page) -> Any:
    return expect(page.locator("#status"))


@with_node
def test_the_built_page_is_what_its_source_gives(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=PAGE, check=True)
    names = sorted(path.name for path in BUILT.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (tmp_path / name).read_bytes() == (BUILT / name).read_bytes(), f"{name}: run `npm run build` in page/"
    subprocess.run(["node", "node_modules/typescript/bin/tsc", "--noEmit"], cwd=PAGE, check=True)


async def test_an_answer_is_seen_while_it_streams_and_stop_keeps_what_was_said(page, desk) -> None:
    scripted, _ = desk
    await say(page, "Count slowly.")
    await asyncio.wait_for(scripted.hanging.wait(), 15)
    answer = page.get_by_label("Assistant")
    await expect(answer).to_contain_text("One two")
    await expect(answer).not_to_contain_text("here it ends")
    await status(page).to_have_text("Working…")
    await page.get_by_role("button", name="Stop").click()
    await status(page).to_have_text("Ready")
    await expect(answer).to_contain_text("One two")
    await say(page, "Good morning?")
    await expect(page.get_by_label("Assistant").last).to_contain_text("Good morning.")
    assert await page.title() != "taken"
    assert await page.locator("#log script").count() == 0


async def test_tools_of_the_agent_and_of_the_page(page) -> None:
    await say(page, "Show me the order.")
    await expect(page.locator("#log").get_by_role("region", name="Order NP-10274")).to_be_visible()
    found = page.get_by_label("What was found")
    await expect(found.get_by_role("region", name="Order NP-10274")).to_be_visible()
    await expect(found.locator("#case")).to_contain_text("NP-10274 of customer C-")
    await status(page).to_have_text("Ready")
    await say(page, "Make it dark.")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page.get_by_label("Assistant").last).to_contain_text('It said: {"theme":"dark"}')
    await expect(page.get_by_text("How it came to this").last).to_be_visible()
    await keep(page, "dark")


async def test_a_refund_is_approved_once_with_an_edited_amount(browser, page, desk, refunds) -> None:
    await say(page, "Please refund the broken tent.")
    amount = page.get_by_label("Amount in CHF")
    await expect(amount).to_have_value("1.50")
    await status(page).to_have_text("Waiting for your decision")
    await expect(page.get_by_label("Your message")).to_be_disabled()
    await keep(page, "approval")
    twin = await opened(browser, desk[1])
    await twin.evaluate("id => localStorage.setItem('live-desk.thread', id)", await thread_of(page))
    await twin.reload()
    await expect(twin.get_by_label("Amount in CHF")).to_have_value("1.50")
    await amount.fill("a lot")
    await page.get_by_role("button", name="Approve").click()
    await expect(amount).to_be_enabled()
    await amount.fill("0.75")
    await asyncio.gather(
        page.get_by_role("button", name="Approve").dblclick(), twin.get_by_role("button", name="Approve").dblclick()
    )
    for one in (page, twin):
        await expect(one.locator("#status")).to_have_text("Ready")
    assert len(await refunds()) == 1
    await page.reload()
    await expect(page.get_by_text("It said:").last).to_be_visible()
    await expect(page.locator(".approval")).to_have_count(0)


async def thread_of(page: Page) -> str:
    return str(await page.evaluate("localStorage.getItem('live-desk.thread')"))


async def test_a_refund_is_rejected_with_its_reason(page, refunds) -> None:
    await say(page, "Please refund the broken tent.")
    await page.get_by_label("Why it is rejected").fill("Not ours.")
    await page.get_by_role("button", name="Reject").click()
    await expect(page.locator("#log .tool.failed")).to_have_count(1)
    await status(page).to_have_text("Ready")
    assert await refunds() == []


async def test_a_running_answer_is_read_on_after_a_reload(page, desk) -> None:
    scripted, _ = desk
    await say(page, "Count slowly.")
    await asyncio.wait_for(scripted.hanging.wait(), 15)
    await page.reload()
    await expect(page.get_by_label("Assistant")).to_contain_text("One two")
    await status(page).to_have_text("Working…")
    scripted.release()
    await expect(page.get_by_label("Assistant")).to_contain_text("And here it ends.")
    await status(page).to_have_text("Ready")
    assert len(scripted.requests) == 1
    await expect(page.get_by_label("You", exact=True)).to_have_count(1)


async def test_a_failed_answer_is_asked_for_again(page, desk) -> None:
    scripted, _ = desk
    await say(page, "Fail, please.")
    await page.get_by_role("alert").get_by_role("button", name="Try again").click()
    await expect(page.get_by_label("Assistant")).to_contain_text("This time it works.")
    await expect(page.get_by_label("You", exact=True)).to_have_count(1)
    await expect(page.get_by_role("alert")).to_be_hidden()
    assert [message.role for message in scripted.requests[-1].messages].count("user") == 1


async def test_a_restart_of_the_agent_is_told_from_the_end_of_the_answer(page, desk) -> None:
    scripted, agent = desk
    await say(page, "Count slowly.")
    await asyncio.wait_for(scripted.hanging.wait(), 15)
    await expect(page.get_by_label("Assistant")).to_contain_text("One two")
    await agent.kill()
    await status(page).to_have_text("Connection lost — reconnecting…")
    await agent.start()
    await expect(page.get_by_role("alert")).to_contain_text("The agent was restarted during this run.")
    await expect(page.get_by_label("Assistant")).to_contain_text("One two")
    await say(page, "Good morning?")
    await expect(page.get_by_label("Assistant").last).to_contain_text("Good morning.")
    await expect(page.get_by_role("alert")).to_be_hidden()


async def test_threads_are_listed_and_opened(page) -> None:
    await say(page, "Good morning, first.")
    await status(page).to_have_text("Ready")
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_label("You", exact=True)).to_have_count(0)
    await say(page, "Good morning, second.")
    await status(page).to_have_text("Ready")
    threads = page.get_by_label("Threads").get_by_role("listitem")
    await expect(threads).to_have_text(["Good morning, second.", "Good morning, first."])
    await threads.last.get_by_role("button").click()
    await expect(page.get_by_label("You", exact=True)).to_have_text(["Good morning, first."])


async def test_it_fits_a_phone_and_is_used_by_keyboard_alone(browser, desk) -> None:
    _, agent = desk
    page = await opened(browser, agent, viewport={"width": 360, "height": 740})
    await page.get_by_role("button", name="Where is order NP-10316?").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#log").get_by_role("region", name="Order NP-10274")).to_be_visible()
    await status(page).to_have_text("Ready")
    await expect(page.get_by_label("Your message")).to_be_focused()
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    await keep(page, "phone")
    await page.get_by_role("button", name="Threads").click()
    await expect(page.get_by_role("button", name="New chat")).to_be_visible()


@with_node
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious(browser, desk, theme) -> None:
    _, agent = desk
    page = await opened(browser, agent, bypass_csp=True, color_scheme=theme)
    await say(page, "Show me the order.")
    await status(page).to_have_text("Ready")
    await say(page, "Please refund the broken tent.")
    await expect(page.locator(".approval")).to_be_visible()
    await page.add_script_tag(path=PAGE / "node_modules" / "axe-core" / "axe.min.js")
    found = await page.evaluate("axe.run()")
    serious = [
        f"{one['id']}: {one['nodes'][0]['html']}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
    ]
    assert found["passes"]
    assert serious == []
