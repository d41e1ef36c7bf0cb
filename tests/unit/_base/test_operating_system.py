"""What the operating system offers, and what stands in where it does not; here is Linux."""

import os
import signal
import subprocess
import sys

import pytest

from fanfold._base import operating_system
from fanfold._base.operating_system import (
    end,
    in_own_group,
    limit_of,
    open_descriptors,
    peak_resident_bytes,
    reports_memory,
    resident_bytes,
    signals,
)

pytestmark = pytest.mark.linux

WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
STARTS_ANOTHER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITS!r}])"
ENDS_POLITELY = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); {WAITS}"


def started(program: str) -> subprocess.Popen[bytes]:
    """Start a program in a group of its own, and wait until it is ready."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], **pipes, **in_own_group())  # noqa: S603 - ours
    assert process.stdout.readline().strip() == b"ready"
    return process


def close(process: subprocess.Popen[bytes]) -> bytes:
    """Close its pipes; return what it printed since, to the end, which does not come while anything holds them."""
    rest, _ = process.communicate(timeout=30)
    return rest


def test_the_memory_of_a_process_is_told_while_it_runs():
    """Its own, another's; a process that has ended has none."""
    assert reports_memory()
    process = started(WAITS)
    assert 1_000_000 < resident_bytes(process.pid) <= peak_resident_bytes(process.pid)
    assert resident_bytes() <= peak_resident_bytes(os.getpid()) * 1.1
    end(process)
    assert (resident_bytes(process.pid), peak_resident_bytes(process.pid)) == (None, None)
    close(process)


def test_a_limit_is_none_where_there_is_no_limit_or_no_module_that_tells_it(monkeypatch: pytest.MonkeyPatch):
    """Python for Windows has no such module."""
    assert limit_of("RLIMIT_NOFILE") > 0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert limit_of("RLIMIT_NOFILE") is None


def test_open_descriptors_are_counted_where_a_folder_lists_them(monkeypatch: pytest.MonkeyPatch):
    """In /proc on Linux, in /dev on macOS; elsewhere the count is nothing."""
    there = {"/proc/self/fd": ["0", "1", "2"], "/dev/fd": ["0", "1"]}

    def listdir(folder: str) -> list[str]:
        if folder not in there:
            raise FileNotFoundError(folder)
        return there[folder]

    monkeypatch.setattr(os, "listdir", listdir)
    assert open_descriptors() == 3
    del there["/proc/self/fd"]
    assert open_descriptors() == 2
    there.clear()
    assert open_descriptors() == 0


def test_a_signal_that_the_platform_lacks_is_left_out():
    """Names stand for signals that may not be there."""
    assert signals("SIGTERM", "SIGNONE") == [signal.SIGTERM]


def test_a_process_is_ended_with_all_that_it_started():
    """Nothing holds its pipes any more."""
    process = started(STARTS_ANOTHER)
    end(process)
    assert process.returncode == -signal.SIGKILL
    assert close(process) == b""


def test_a_process_with_grace_ends_by_itself():
    """One that has ended is ended again without an error."""
    process = started(ENDS_POLITELY)
    end(process, grace_seconds=30)
    assert process.returncode == 7
    end(process)
    assert close(process) == b""


def test_without_process_groups_a_process_and_its_children_are_ended_by_taskkill(monkeypatch: pytest.MonkeyPatch):
    """Where there is no taskkill either, the process alone is."""
    monkeypatch.delattr(os, "killpg")
    commands = []

    def run(command: list[str], **_options: object) -> None:
        commands.append(command)
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    assert in_own_group() == {"creationflags": 0}  # a name of Windows alone
    process = started(WAITS)
    end(process, grace_seconds=30)
    assert commands == [["taskkill", "/F", "/T", "/PID", str(process.pid)]]
    assert process.returncode is not None
    close(process)


def test_nothing_is_told_of_memory_without_proc(monkeypatch: pytest.MonkeyPatch):
    """On macOS and Windows."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(operating_system, "open", refuse, raising=False)
    assert (resident_bytes(), peak_resident_bytes(), reports_memory()) == (None, None, False)
