"""Where control groups can be made. Version 2 is tried on folders that look like one: no kernel acts on them."""

import os
from pathlib import Path

import pytest

from fanfold.bench.groups import Group, Groups, _limit_memory, find_groups, open_group


def mounts(*lines: tuple[str, Path, str, str]) -> str:
    """Return what ``/proc/self/mountinfo`` says of mounts: root, where, kind, options."""
    return "\n".join(f"31 23 0:28 {root} {where} rw - {kind} cgroup {options}" for root, where, kind, options in lines)


def test_where_nothing_is_mounted_there_are_no_groups():
    """And it is said what stands in for them."""
    groups = find_groups("", "0::/\n")
    assert groups == Groups(None, None, 0)
    assert groups.words == "memory by a watch on resident memory, CPU not limited"


def test_a_folder_without_the_kernel_behind_it_is_no_group(tmp_path: Path):
    """A group that can be made but takes no limit does not count; nothing is left behind."""
    groups = find_groups(mounts(("/", tmp_path, "cgroup2", "rw")), "0::/\n")
    assert groups.version == 0
    assert list(tmp_path.iterdir()) == []


def test_a_broken_line_of_mounts_is_passed_over(tmp_path: Path):
    """What cannot be read is not guessed at."""
    assert find_groups(f"31 23 0:28 / {tmp_path} rw -\n", "4:memory:/\n0::/\n").version == 0


def test_what_is_held_is_said():
    """Each of the two by itself."""
    assert Groups(Path("/x"), Path("/y"), 1).words == "memory by cgroup v1, CPU by cgroup v1"
    assert Groups(Path("/x"), None, 2).words == "memory by cgroup v2, CPU not limited"


def test_without_groups_a_command_runs_all_the_same():
    """Its memory is watched, its CPU is its own, its descriptors are Lambda's."""
    with open_group(Groups(None, None, 0), 512) as group:
        assert not group.limits_memory
        group.limit_cpu()
        assert group.throttled_seconds() is None
        assert not group.out_of_memory()
        assert group.command(["true"])[-2:] == ["--", "true"]


def test_version_2_is_told_by_its_own_files(tmp_path: Path):
    """One folder, a quota with its period, kills by ``memory.events``, throttling in microseconds."""
    (tmp_path / "memory.events").write_text("low 0\noom 0\noom_kill 0\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nthrottled_usec 1500000\n")
    group = Group(tmp_path, tmp_path, 884, version=2)
    assert group.command(["true"])[4:6] == [str(tmp_path / "cgroup.procs"), "--"]
    group.limit_cpu()
    assert (tmp_path / "cpu.max").read_text() == "49971 100000"
    assert group.throttled_seconds() == 1.5
    assert not group.out_of_memory()
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert group.out_of_memory()


def test_swap_is_no_memory_of_the_function(tmp_path: Path):
    """Version 2 on a folder that looks like one: its memory is set, and its swap to none where there is a setting."""
    (tmp_path / "memory.swap.max").write_text("max")
    _limit_memory(tmp_path, 1024, 2)
    assert (tmp_path / "memory.max").read_text() == "1024"
    assert (tmp_path / "memory.swap.max").read_text() == "0"


def test_a_real_group_is_made_and_removed():
    """Where this machine permits it; its limit is the function's memory."""
    groups = find_groups()
    if groups.memory is None:
        pytest.skip("no groups are permitted here")
    name = "memory.limit_in_bytes" if groups.version == 1 else "memory.max"
    with open_group(groups, 256) as group:
        assert group.limits_memory
        (made,) = groups.memory.glob(f"fanfold-{os.getpid()}-*")
        assert int((made / name).read_text()) == 256 * 1024 * 1024
    assert not made.exists()
