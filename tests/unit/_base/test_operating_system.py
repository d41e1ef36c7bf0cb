"""The capabilities of the operating system, and the fallbacks without them; on Linux."""

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
    """Start a program in a new process group, and wait until it is ready."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], **pipes, **in_own_group())  # noqa: S603 - ours
    assert process.stdout.readline().strip() == b"ready"
    return process


def close(process: subprocess.Popen[bytes]) -> bytes:
    """Close the pipes, and return the rest of the output; this blocks while another process has the pipes open."""
    rest, _ = process.communicate(timeout=300)
    return rest


def test_the_memory_of_a_running_process_is_reported():
    """This holds for this process and another one; a process that has ended has no memory."""
    assert reports_memory()
    process = started(WAITS)
    assert 1_000_000 < resident_bytes(process.pid) <= peak_resident_bytes(process.pid)
    assert resident_bytes() <= peak_resident_bytes(os.getpid()) * 1.1
    end(process)
    assert (resident_bytes(process.pid), peak_resident_bytes(process.pid)) == (None, None)
    close(process)


def test_a_limit_is_none_without_the_resource_module(monkeypatch: pytest.MonkeyPatch):
    """Python for Windows does not have this module."""
    assert limit_of("RLIMIT_NOFILE") > 0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert limit_of("RLIMIT_NOFILE") is None


def test_open_descriptors_are_counted_if_a_folder_lists_them(monkeypatch: pytest.MonkeyPatch):
    """They are listed in /proc on Linux and in /dev on macOS; elsewhere, the count is 0."""
    folders = {"/proc/self/fd": ["0", "1", "2"], "/dev/fd": ["0", "1"]}

    def listdir(folder: str) -> list[str]:
        if folder not in folders:
            raise FileNotFoundError(folder)
        return folders[folder]

    monkeypatch.setattr(os, "listdir", listdir)
    assert open_descriptors() == 3
    del folders["/proc/self/fd"]
    assert open_descriptors() == 2
    folders.clear()
    assert open_descriptors() == 0


def test_a_signal_that_the_platform_lacks_is_left_out():
    """Names of unknown signals are ignored."""
    assert signals("SIGTERM", "SIGNONE") == [signal.SIGTERM]


def test_a_process_is_ended_with_its_child_processes():
    """No process keeps its pipes open."""
    process = started(STARTS_ANOTHER)
    end(process)
    assert process.returncode == -signal.SIGKILL
    assert close(process) == b""


def test_a_process_may_exit_within_the_grace_period():
    """Ending a process that has ended is not an error."""
    process = started(ENDS_POLITELY)
    end(process, grace_seconds=30)
    assert process.returncode == 7
    end(process)
    assert close(process) == b""


def test_without_process_groups_a_process_and_its_children_are_ended_by_taskkill(monkeypatch: pytest.MonkeyPatch):
    """Without taskkill, only the process itself is ended."""
    monkeypatch.delattr(os, "killpg")
    commands = []

    def run(command: list[str], **_options: object) -> None:
        commands.append(command)
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    assert in_own_group() == {"creationflags": 0}  # the flag exists only on Windows
    process = started(WAITS)
    end(process, grace_seconds=30)
    assert commands == [["taskkill", "/F", "/T", "/PID", str(process.pid)]]
    assert process.returncode is not None
    close(process)


def test_memory_is_not_reported_without_proc(monkeypatch: pytest.MonkeyPatch):
    """Windows and macOS do not have /proc."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(operating_system, "open", refuse, raising=False)
    assert (resident_bytes(), peak_resident_bytes(), reports_memory()) == (None, None, False)
