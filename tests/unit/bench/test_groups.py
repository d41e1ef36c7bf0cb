"""Control groups. Version 2 is tested on folders with the same files, without the kernel."""

import os
from pathlib import Path

import pytest

from fanfold.bench.groups import Group, Groups, _limit_memory, find_groups, open_group


def mounts(*lines: tuple[str, Path, str, str]) -> str:
    """Return the text of ``/proc/self/mountinfo`` for mounts: root, mount point, type, options."""
    return "\n".join(f"31 23 0:28 {root} {where} rw - {kind} cgroup {options}" for root, where, kind, options in lines)


def test_without_a_mount_no_groups_are_used():
    """The description names the replacement."""
    groups = find_groups("", "0::/\n")
    assert groups == Groups(None, None, 0)
    assert groups.description == "memory limited by monitoring its size, CPU not limited"


def test_a_plain_folder_is_not_used_as_a_group(tmp_path: Path):
    """A group without a limit file is rejected and removed."""
    groups = find_groups(mounts(("/", tmp_path, "cgroup2", "rw")), "0::/\n")
    assert groups.version == 0
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_line_of_mounts_is_ignored(tmp_path: Path):
    """Nothing is guessed."""
    assert find_groups(f"31 23 0:28 / {tmp_path} rw -\n", "4:memory:/\n0::/\n").version == 0


def test_the_description_states_how_each_limit_is_enforced():
    """Memory and CPU separately."""
    assert Groups(Path("/x"), Path("/y"), 1).description == "memory limited by cgroup v1, CPU limited by cgroup v1"
    assert Groups(Path("/x"), None, 2).description == "memory limited by cgroup v2, CPU not limited"


def test_without_groups_a_command_still_runs():
    """Its CPU is not limited; its file descriptors are limited as on Lambda."""
    with open_group(Groups(None, None, 0), 512) as group:
        assert not group.limits_memory
        group.limit_cpu()
        assert group.throttled_seconds() is None
        assert not group.out_of_memory()
        assert group.command(["true"])[-2:] == ["--", "true"]


def test_version_2_uses_its_own_files(tmp_path: Path):
    """One folder, a quota with its period, kills in ``memory.events``, throttling in microseconds."""
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


def test_a_function_cannot_use_swap(tmp_path: Path):
    """Version 2: the memory limit is set, and swap is set to 0 if the file exists."""
    (tmp_path / "memory.swap.max").write_text("max")
    _limit_memory(tmp_path, 1024, 2)
    assert (tmp_path / "memory.max").read_text() == "1024"
    assert (tmp_path / "memory.swap.max").read_text() == "0"


def test_a_real_group_is_created_and_removed():
    """If this machine permits it. Its limit is the function's memory."""
    groups = find_groups()
    if groups.memory is None:
        pytest.skip("no groups are permitted here")
    name = "memory.limit_in_bytes" if groups.version == 1 else "memory.max"
    with open_group(groups, 256) as group:
        assert group.limits_memory
        (created,) = groups.memory.glob(f"fanfold-{os.getpid()}-*")
        assert int((created / name).read_text()) == 256 * 1024 * 1024
    assert not created.exists()
