"""The README's commands work as they are written."""

import os
import re
import shutil
import subprocess
import sys
from asyncio import to_thread
from pathlib import Path

import pytest
from agent_runtime.testing.process import AgentProcess

AGENT = Path(__file__).parents[1]
README = (AGENT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason="needs curl and openssl")
async def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    """In a copy of the root: another port, its own state, this interpreter."""
    [examples] = {Path(path).parent for path in re.findall(r"\S+/github-issue.json", README.replace("BODY=", ""))}
    (tmp_path / examples).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / examples).symlink_to(AGENT / "examples")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    interpreter = tmp_path / ".venv" / "bin" / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    interpreter.chmod(0o755)
    state = tmp_path / ".state"
    async with AgentProcess("webhook_extractor", env={"AGENTSERVER_STATE_ROOT": str(state)}) as agent:
        outputs = []
        for command in COMMANDS:
            here = command.replace("8089", str(agent.port)).replace(".sign ", f".sign --url {agent.url} ")
            done = await to_thread(
                subprocess.run,
                ["sh", "-ec", here],
                cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ | {"no_proxy": "*"},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
    github, contact, stripe, direct, dead_letters = outputs
    for output, order in ((github, "NP-10001"), (contact, "NP-10002"), (stripe, "NP-10001"), (direct, "NP-10001")):
        assert '"status":"completed"' in output
        assert order in output
    assert "No dead letters." in dead_letters
