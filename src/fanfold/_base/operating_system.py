"""The capabilities of the operating system. Linux has all of them; macOS and Windows lack some.

Each function checks for a capability, never for the name of a platform, and documents its result without it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import subprocess  # a cold start does without it
    from pathlib import Path

MEMORY_NOT_REPORTED: Final = "this platform does not report the memory of a process (Linux does, in /proc)"
"""Why memory is neither measured nor limited if ``reports_memory`` returns False."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return the resident memory of a process in bytes; None if it has ended or the system does not report it.

    Source: the second field of ``/proc/PID/statm``, in pages (proc(5)).
    """
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - many times a second
            return int(statm.read(128).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


def private_bytes(pid: int) -> int:
    """Return the resident memory of a process without the files that it shares with others, in bytes; 0 if unknown.

    Source: the second field of ``/proc/PID/statm`` less the third, in pages (proc(5)).
    """
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - many times a second
            resident, shared = statm.read(128).split()[1:3]
            return (int(resident) - int(shared)) * _PAGE_BYTES
    except (OSError, ValueError):
        return 0


def peak_within(limit_bytes: float) -> bool:
    """Return whether the resident memory of this process has never exceeded a limit; False if that is not known.

    A tenth of the cost of ``resident_bytes``. Source: ``ru_maxrss`` of getrusage(2), in KiB on Linux and in bytes on
    macOS. Linux keeps the peak of the program that a process ran before exec(3), so it may report more, never less.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return False
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit <= limit_bytes


def peak_resident_bytes(pid: int | str = "self") -> int | None:
    """Return the peak resident memory of a process in bytes; None as in ``resident_bytes``.

    Source: ``VmHWM`` in ``/proc/PID/status``, in KiB (proc(5)).
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123 - as above
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):
        return None


def peak_with_children(pid: int | str = "self") -> int | None:
    """Return the peak resident memory of a process, and those of its worker processes, in bytes; None as above.

    Source: ``/proc/PID/task/TID/children`` of all threads (proc(5)).
    """
    from pathlib import Path  # not imported at cold start

    if (own := peak_resident_bytes(pid)) is None:
        return None
    children = [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in _text(file).split()]
    return own + sum(peak_resident_bytes(child) or 0 for child in children)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:  # the thread has ended
        return ""


def reset_peak_resident_bytes() -> None:
    """Set the peak of ``peak_resident_bytes`` for this process to its resident memory, if the system can.

    Source: writing 5 to ``/proc/self/clear_refs`` (proc(5)).
    """
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as clear_refs:  # noqa: PTH123
        clear_refs.write(b"5")


def reports_memory() -> bool:
    """Return whether the system reports the memory of a process."""
    return resident_bytes() is not None


def limit_of(name: str) -> int | None:
    """Return a soft limit of this process, such as ``RLIMIT_NOFILE``; None if it has no such limit."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    soft, _ = resource.getrlimit(getattr(resource, name))
    return None if soft == resource.RLIM_INFINITY else soft


def open_descriptors() -> int:
    """Return the number of open descriptors of this process; 0 if the system does not list them."""
    for folder in ("/proc/self/fd", "/dev/fd"):  # Linux, macOS
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208 - names are all that is needed
    return 0


def signals(*names: str) -> list[int]:
    """Return those of the named signals that the platform has. Windows has no ``SIGHUP``."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def in_own_group() -> dict[str, Any]:
    """Return the arguments of ``subprocess.Popen`` that keep Ctrl-C from a process; ``end`` ends such a process."""
    if hasattr(os, "killpg"):
        return {"start_new_session": True}
    import subprocess

    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def end(process: subprocess.Popen[Any], *, grace_seconds: float = 0.0) -> None:
    """End a process that was started ``in_own_group``, and its child processes; wait until it has ended.

    Args:
        process: The process. It may have ended already.
        grace_seconds: Seconds from SIGTERM to SIGKILL; 0 sends SIGKILL only. Ignored on Windows, which lacks SIGTERM.
    """
    import subprocess

    if not hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            # TerminateProcess ends one process; taskkill /T also ends its child processes.
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS, if it has ended
            if grace_seconds:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=grace_seconds)
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
