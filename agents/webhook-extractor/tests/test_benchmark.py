"""The benchmark of accepting runs, at a small size. Its figures are for `make bench`: this machine is busy with tests."""

import subprocess
import sys


def test_the_benchmark_accepts_every_delivery_and_prints_its_ratios() -> None:
    command = [sys.executable, "-m", "repo_tools", "bench", "deliveries", "--size", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode in {0, 1}, done.stderr
    assert done.stderr == ""
    for line in (
        "against the bare host:",
        "100 deliveries accepted and processed",
        "after the last against after the first",
    ):
        assert line in done.stdout
    assert ("NOT HELD" in done.stdout) == (done.returncode == 1)
