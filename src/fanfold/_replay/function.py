"""A Lambda function on this machine: its handler in a process of its own, with its timeout and its memory.

A handler that hangs is killed when its time is over, one that outgrows its memory when that is seen (every 10 ms, by
resident memory, or by the kernel where a confinement holds it), as Lambda does; the next invocation starts a fresh
process. If the system does not report the memory of a process, it is neither measured nor limited.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final, Protocol, Self

from fanfold._base import operating_system
from fanfold._replay.mapping import Errored, Invocation, Returned
from fanfold.errors import FanfoldError

_LOOK_SECONDS = 0.01
_STARTUP_SECONDS = 60.0
_END_SECONDS = 5.0
_MB = 1024 * 1024
AS_ON_LAMBDA: Final = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
"""Output is unbuffered, and text is UTF-8 by default, on every platform."""


class HandlerError(FanfoldError):
    """There is no such handler: what is wrong, and what importing its module raised, as its own traceback."""

    def __init__(self, message: str, traceback: str, ended: Errored | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback
        """The user's traceback; empty if nothing was raised."""
        self.ended = ended
        """How the process ended before it was ready; None if the import raised."""


class Confinement(Protocol):
    """What holds the process of a function to its share of the machine."""

    @property
    def holds_memory(self) -> bool:
        """Whether the kernel ends a process that outgrows its memory; else its resident memory is watched."""
        ...

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that enters the confinement and then becomes this one."""
        ...

    def loaded(self) -> None:
        """Limit the CPU: the handler's module is imported, events follow."""
        ...

    def out_of_memory(self) -> bool:
        """Tell whether the kernel has ended a process in it for its memory."""
        ...


class InvocationResult:
    """An invocation that has ended, and what was seen of it."""

    def __init__(self, invocation: Invocation, seen: Mapping[str, Any], seconds: float, peak_mb: float | None) -> None:
        self.invocation = invocation
        """How it ended."""
        self.outcomes: Mapping[str, tuple[str, str | None]] = seen.get("outcomes", {})
        """Outcome and words by receipt handle; empty for a handler that is no fanfold consumer."""
        self.measured: dict[str, Any] = {
            "seconds": seen.get("seconds", round(seconds, 6)),
            "peak_memory_mb": peak_mb,
            "remaining_ms": seen.get("remaining_ms"),
            "most_in_flight": seen.get("most_in_flight"),
            "spans": seen.get("spans", []),
        }
        """What was measured: different each time."""
        self.durations: Sequence[float] = seen.get("durations", [])
        """Seconds of each call of a consumer's handler, if they were asked for."""
        self.cpu_seconds: float = seen.get("cpu_seconds", 0.0)
        """CPU that the handler used."""
        self.decode_seconds: float = seen.get("decode_seconds", 0.0)
        """What decoding the event took, before the handler was called."""


class LocalFunction:
    """A handler, in a process that is started when it is needed.

    Args:
        handler: ``MODULE:NAME``, found from the current folder.
        timeout_seconds: Time of one invocation.
        memory_mb: Memory of the process, MB.
        environment: Variables beside this process's own.
        confinement: What holds the process to its memory and CPU; None to watch its memory alone.
        durations: Whether to note how long each record took instead of who ran when.
        quiet: Whether to drop what it prints.
        lazy: Whether the process is started by ``start`` or the first event, not when the block is entered.
    """

    def __init__(
        self,
        handler: str,
        *,
        timeout_seconds: float,
        memory_mb: int,
        environment: Mapping[str, str],
        confinement: Confinement | None = None,
        durations: bool = False,
        quiet: bool = False,
        lazy: bool = False,
    ) -> None:
        self.handler = handler
        """Names it."""
        self.is_consumer: bool = False
        """Whether it is a fanfold consumer; known once it has started."""
        self.own_concurrency: int | None = None
        """The concurrency a consumer was decorated with; known once it has started."""
        self._confinement = confinement
        self._durations = durations
        self._quiet = quiet
        self._lazy = lazy
        self._timeout = timeout_seconds
        self._memory_mb = memory_mb
        self._environment = {**os.environ, **environment, **AS_ON_LAMBDA}
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: _Replies | None = None
        self._invocations = 0

    def __enter__(self) -> Self:
        if not self._lazy:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and import the handler.

        Raises:
            HandlerError: If that fails.
        """
        command = [sys.executable, "-m", "fanfold._replay.child", self.handler]
        if self._durations:
            command.append("durations")
        if self._confinement is not None:
            command = self._confinement.command(command)
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if self._quiet else None,
            env=self._environment,
            **operating_system.in_own_group(),
        )
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        self._replies = _Replies(self._process.stdout)
        reply, why = self._reply(time.monotonic() + _STARTUP_SECONDS)
        if reply is None:
            self.close()
            raise HandlerError(f"{self.handler} did not start: {why.reason}", "", why)
        if "failed" in reply:
            self.close()
            raise HandlerError(reply["failed"], reply["traceback"])
        self.is_consumer = reply["consumer"]
        self.own_concurrency = reply["concurrency"]
        if self._confinement is not None:
            self._confinement.loaded()

    def invoke(self, event: Mapping[str, Any]) -> InvocationResult:
        """Invoke the handler with an event, to its end or its limits."""
        if self._process is None:
            self.start()
        assert self._process is not None  # noqa: S101 - just started
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._invocations += 1
        request = {
            "event": event,
            "seconds": self._timeout,
            "request_id": f"00000000-0000-4000-8000-{self._invocations:012d}",
            "memory_mb": self._memory_mb,
        }
        began = time.monotonic()
        with contextlib.suppress(OSError):  # it is gone (EPIPE, on Windows EINVAL): the missing reply says so
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        reply, why = self._reply(began + self._timeout)
        peak = peak_mb_of(self._process.pid)
        seconds = time.monotonic() - began
        if reply is None:
            self.close()
            return InvocationResult(why, {}, seconds, peak)
        error = reply["error"]
        return InvocationResult(
            Returned(reply["response"]) if error is None else Errored("error", error), reply, seconds, peak
        )

    def close(self) -> None:
        """End the process, and what it started."""
        process, replies = self._process, self._replies
        self._process = self._replies = None
        if process is None or replies is None:
            return
        operating_system.end(process)
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        replies.wait()

    def _reply(self, until: float) -> tuple[dict[str, Any] | None, Errored]:
        """Return the next reply, or none and why: the time is over, the memory too, or the process has ended."""
        assert self._process is not None  # noqa: S101 - by whoever waits for it
        assert self._replies is not None  # noqa: S101 - as the process
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._replies.next(min(left, _LOOK_SECONDS))
            except queue.Empty:
                used = self._watched_mb(self._process.pid)
                if used is not None and used > self._memory_mb:
                    return None, Errored("killed", f"out of memory: {used:.0f} MB of {self._memory_mb} MB")
            else:
                return (json.loads(line), Errored("error", "")) if line else (None, self._exited(self._process))
        return None, Errored("timeout", f"Task timed out after {self._timeout:.2f} seconds")

    def _watched_mb(self, pid: int) -> float | None:
        """Return the resident memory, MB; None where the kernel watches it."""
        held = self._confinement is not None and self._confinement.holds_memory
        return None if held else memory_mb_of(pid)

    def _exited(self, process: subprocess.Popen[bytes]) -> Errored:
        how = how_it_ended(process)
        if self._confinement is not None and self._confinement.out_of_memory():
            return Errored("killed", f"out of memory: over {self._memory_mb} MB")
        return Errored("error", f"Runtime exited {how}")


class _Replies:
    """Lines from a process, read on a thread, because Windows cannot wait for a pipe with a timeout."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, args=(pipe,), name="fanfold-replies", daemon=True)
        self._thread.start()

    def next(self, seconds: float) -> bytes:
        """Return the next line; empty if the process has closed the pipe.

        Raises:
            queue.Empty: If no line arrives in time.
        """
        return self._lines.get(timeout=seconds)

    def wait(self) -> None:
        """Wait until the pipe is closed, after the process has ended."""
        self._thread.join(_END_SECONDS)

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                if line.endswith(b"\n"):  # otherwise, the process ended within a line
                    self._lines.put(line)
        self._lines.put(b"")


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """Say how a process that has ended did."""
    status = process.wait()
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


def memory_mb_of(pid: int) -> float | None:
    """Return the resident memory of a process in MB; None if the system does not report it."""
    return _mb(operating_system.resident_bytes(pid))


def peak_mb_of(pid: int) -> float | None:
    """Return the peak resident memory of a process in MB; None if the system does not report it."""
    return _mb(operating_system.peak_resident_bytes(pid))


def _mb(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else round(size_bytes / _MB, 1)


def printed_to() -> int:
    """Return where a handler's prints go: to stderr, so that stdout holds the replay alone."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # a stderr that is no file, as in a test or a notebook
        return subprocess.DEVNULL
