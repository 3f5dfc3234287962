"""The README's commands run, and print what it says."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agent_runtime.settings import load_settings
from agent_runtime.testing import serve
from rag_chat.app import build_app
from rag_chat.settings import RagChatSettings

README_URL = "http://127.0.0.1:8088"
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


async def printed(command: list[str]) -> str:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_python_example_prints_what_the_readme_says() -> None:
    [example] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    async with serve(build_app(load_settings(RagChatSettings))) as url:
        output = await printed([sys.executable, "-c", example.replace(README_URL, url)])
    [shown] = re.findall(r"^```\n(Unworn boots.*?)^```$", README, re.MULTILINE | re.DOTALL)
    parts = [part.strip() for part in shown.split("…")]  # what the README leaves out changes with the handbook
    assert re.search(".*".join(map(re.escape, parts)), output, re.DOTALL), output


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_curl_examples_print_an_answer_and_the_refusal_of_the_readme() -> None:
    ask, refused = re.findall(r"^(?:\$ )?(curl .*?'\{.*?\}')$", README, re.MULTILINE | re.DOTALL)
    async with serve(build_app(load_settings(RagChatSettings))) as url:
        asked, told = [
            await printed(["sh", "-c", command.replace("curl", "curl --noproxy '*'").replace(README_URL, url)])
            for command in (ask, refused)
        ]
    assert '"status":"completed"' in asked
    assert told in README
