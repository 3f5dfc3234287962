"""Control groups: what is read from either layout, and that a program started in one of our own is limited by it."""

import subprocess
import sys
from pathlib import Path

import pytest
from repo_tools.control_group import Account, ControlGroup

GIB = 1 << 30


def test_the_limits_and_the_peak_are_read_from_either_layout() -> None:
    v2 = {"memory.max": "1073741824", "memory.peak": "5000", "cpu.max": "50000 100000"}
    v1 = {
        "memory/memory.limit_in_bytes": "1073741824",
        "memory/memory.max_usage_in_bytes": "5000",
        "cpu/cpu.cfs_quota_us": "50000",
        "cpu/cpu.cfs_period_us": "100000",
    }
    assert Account.of(v2) == Account.of(v1) == Account(0.5, GIB, 5000)


def test_no_limit_is_none_in_either_layout() -> None:
    v2 = {"memory.max": "max", "cpu.max": "max 100000"}
    v1 = {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
    }
    assert Account.of(v2) == Account.of(v1) == Account.of({}) == Account(None, None, None)


def own(folder: Path, text: str) -> Path:
    path = folder / "own"
    path.write_text(text)
    return path


def test_with_a_tree_for_each_controller_the_group_is_below_our_own(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for folder in ("memory/session", "cpu,cpuacct/session"):
        (mount / folder).mkdir(parents=True)
    mine = own(tmp_path, "5:memory:/session\n4:cpu,cpuacct:/session\n0::/\n")
    group = ControlGroup(0.5, GIB, mount=mount, own=mine)
    [memory] = (mount / "memory/session").iterdir()
    [cpu] = (mount / "cpu,cpuacct/session").iterdir()
    assert (memory / "memory.limit_in_bytes").read_text() == str(GIB)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "50000"
    assert group.account() == Account(0.5, GIB, None)


def test_with_one_tree_the_group_is_at_its_top(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "cgroup.subtree_control").write_text("cpuset cpu io memory pids\n")
    group = ControlGroup(0.5, GIB, mount=mount, own=own(tmp_path, "0::/user.slice\n"))
    assert group.account() == Account(0.5, GIB, None)


@pytest.mark.parametrize("controllers", ["cpu io", None])
def test_where_no_group_can_be_made_none_is_left(controllers: str | None, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    if controllers:
        (mount / "cgroup.subtree_control").write_text(controllers)
    with pytest.raises(OSError, match=r"subtree_control"):
        ControlGroup(0.5, GIB, mount=mount, own=own(tmp_path, "0::/user.slice\n"))
    assert [path for path in mount.iterdir() if path.is_dir()] == []


def test_a_program_in_a_group_ends_where_it_takes_more_memory_than_the_group_has() -> None:
    try:
        group = ControlGroup(0.5, 64 << 20)
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        fits = [sys.executable, "-c", "print(len(bytes(8 << 20)))"]
        assert subprocess.run(group.command(fits), check=False).returncode == 0
        assert 0 < (group.account().memory_peak or 0) < 64 << 20
        more = [sys.executable, "-c", "print(len(b'x' * (256 << 20)))"]
        assert subprocess.run(group.command(more), check=False).returncode != 0
        assert group.account().cpus == 0.5
    finally:
        group.remove()
