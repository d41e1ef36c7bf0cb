"""What the operating system offers this process. Linux offers all of it, macOS and Windows less.

Every function asks for a capability, never for the name of a platform, and says what it returns where there is none.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import subprocess  # a cold start does without it

NO_MEMORY_FIGURES: Final = "this platform does not tell how much memory a process uses (Linux does, in /proc)"
"""Why memory is neither measured nor limited where ``tells_memory`` is false."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return the memory of a process that is resident now; None if the system does not tell, or the process has ended.

    Source: the second field of ``/proc/PID/statm``, in pages (proc(5)).
    """
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - many times a second
            return int(statm.read(128).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


def peak_resident_bytes(pid: int | str = "self") -> int | None:
    """Return the most memory a process has had resident so far; None as for ``resident_bytes``.

    Source: ``VmHWM`` in ``/proc/PID/status``, in KiB (proc(5)).
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123 - as above
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmHWM:"))
    except (OSError, StopIteration):
        return None


def tells_memory() -> bool:
    """Return whether the system tells how much memory a process uses."""
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
    """Return how many descriptors this process has open; 0 where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):  # Linux, macOS
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208 - names are all that is needed
    return 0


def signals(*names: str) -> list[int]:
    """Return the signals of these names that the platform has: ``SIGHUP`` is none on Windows."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def in_own_group() -> dict[str, Any]:
    """Return the arguments of ``subprocess.Popen`` for a process that Ctrl-C does not reach; see ``end``."""
    if hasattr(os, "killpg"):
        return {"start_new_session": True}
    import subprocess

    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def end(process: subprocess.Popen[Any], *, grace_seconds: float = 0.0) -> None:
    """End a process that was started ``in_own_group``, and all that it started; return when it has ended.

    Args:
        process: The process; one that has ended is no error.
        grace_seconds: What it gets to end by itself, after SIGTERM. There is no such signal on Windows, and no grace.
    """
    import subprocess

    if not hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            # TerminateProcess ends one process; this ends its children, too.
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted for one that has ended
            if grace_seconds:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=grace_seconds)
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
