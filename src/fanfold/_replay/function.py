"""A Lambda function on this machine: its handler in a separate process, with its timeout and its memory limit.

As on Lambda, the process is killed at the timeout, or when its memory exceeds the limit: the resident memory is checked
every 10 ms, unless a confinement has the kernel enforce the limit. The next invocation starts a fresh process. If the
system does not report the memory of a process, it is neither measured nor limited.
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
from fanfold._base.aws_limits import LAMBDA_RESPONSE_BYTES
from fanfold._replay.mapping import Errored, Invocation, Returned
from fanfold._replay.pipes import PIPE_LOST
from fanfold.errors import FanfoldError

_POLL_SECONDS = 0.01
_STARTUP_SECONDS = 60.0
_END_SECONDS = 5.0
_MB = 1024 * 1024
_PIPE_BYTES: Final = 4_096
"""Bytes that fit into every pipe."""
_FOREIGN_REPLY: Final = Errored(
    "error",
    "the handler wrote to, or closed, a file descriptor that it had not opened: the pipe to its process is unusable",
)
AS_ON_LAMBDA: Final = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
"""Output is unbuffered, and text is UTF-8 by default, on every platform."""


class HandlerError(FanfoldError):
    """The handler cannot be loaded; if importing its module raised an error, with the traceback."""

    def __init__(self, message: str, traceback: str, ended: Errored | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback
        """The traceback in the user's code; empty if the import did not raise."""
        self.ended = ended
        """How the process ended before it was ready; None if the import raised."""


class Confinement(Protocol):
    """The resource limits of a function's process, enforced by the kernel."""

    @property
    def limits_memory(self) -> bool:
        """Return whether the kernel kills a process that exceeds its memory; else its resident memory is polled."""
        ...

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command that enters the confinement and then runs the given command."""
        ...

    def limit_cpu(self) -> None:
        """Start limiting the CPU; called after the handler's module is imported."""
        ...

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed a process in the confinement for its memory."""
        ...


class InvocationResult:
    """The result of an invocation, with measurements."""

    def __init__(self, invocation: Invocation, seen: Mapping[str, Any], seconds: float, peak_mb: float | None) -> None:
        self.invocation = invocation
        """How it ended."""
        self.outcomes: Mapping[str, tuple[str, str | None]] = seen.get("outcomes", {})
        """Outcome and reason by receipt handle; empty if the handler is not a fanfold consumer."""
        self.measured: dict[str, Any] = {
            "seconds": seen.get("seconds", round(seconds, 6)),
            "peak_memory_mb": peak_mb,
            "remaining_ms": seen.get("remaining_ms"),
            "most_in_flight": seen.get("most_in_flight"),
            "spans": seen.get("spans", []),
        }
        """Measurements; they differ from run to run."""
        self.concurrency_limit: int | None = seen.get("concurrency_limit")
        """The concurrency limit of a consumer at the end, if it adjusts itself and durations were requested."""
        self.durations: Sequence[float] = seen.get("durations", [])
        """Seconds of each call of a consumer's handler, if requested."""
        self.cpu_seconds: float = seen.get("cpu_seconds", 0.0)
        """CPU time of the handler, seconds."""
        self.decode_seconds: float = seen.get("decode_seconds", 0.0)
        """Time to decode the event before the handler was called, seconds."""


class LocalFunction:
    """A handler in a separate process.

    Args:
        handler: ``MODULE:NAME``, imported from the current folder.
        timeout_seconds: Timeout of an invocation.
        memory_mb: Memory limit of the process, MB.
        environment: Variables in addition to those of this process.
        confinement: Enforces memory and CPU limits; None to poll only the resident memory.
        durations: Record how long each record took, instead of a timeline.
        quiet: Discard the output of the process.
        lazy: Start the process on ``start`` or the first event, not on entering the block.
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
        """``MODULE:NAME``."""
        self.is_consumer: bool = False
        """True if the handler is a fanfold consumer; known once the process has started."""
        self.own_concurrency: int | None = None
        """The concurrency set on a consumer's decorator; known once the process has started."""
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
            HandlerError: If the process does not start, or the import fails.
        """
        command = [sys.executable, "-m", "fanfold._replay.child", self.handler]
        if self._durations:
            command.append("durations")
        if self._confinement is not None:
            command = self._confinement.command(command)
        self._process = subprocess.Popen(  # noqa: S603 - a module of fanfold
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if self._quiet else None,
            env=self._environment,
            **operating_system.in_own_group(),
        )
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        self._replies = _Replies(self._process.stdout)
        reply, ended = self._reply(time.monotonic() + _STARTUP_SECONDS)
        if reply is None:
            self.close()
            raise HandlerError(f"{self.handler} did not start: {ended.reason}", "", ended)
        if "failed" in reply:
            self.close()
            raise HandlerError(reply["failed"], reply["traceback"])
        self.is_consumer = reply["consumer"]
        self.own_concurrency = reply["concurrency"]
        if self._confinement is not None:
            self._confinement.limit_cpu()

    def invoke(self, event: Mapping[str, Any], now: float = 0.0) -> InvocationResult:
        """Invoke the handler with an event, until it returns or reaches a limit.

        Args:
            event: The event.
            now: Simulated seconds since the start of a replay.
        """
        if self._process is None:
            self.start()
        assert self._process is not None  # noqa: S101 - just started
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._invocations += 1
        expected_id = request_id(self._invocations)
        request = {
            "event": event,
            "seconds": self._timeout,
            "request_id": expected_id,
            "memory_mb": self._memory_mb,
            "now": now,
        }
        began = time.monotonic()
        _write(self._process.stdin, json.dumps(request).encode() + b"\n")
        reply, ended = self._reply(began + self._timeout, expected_id)
        peak = peak_mb_of(self._process.pid)
        seconds = time.monotonic() - began
        if reply is None:
            self.close()
            return InvocationResult(ended, {}, seconds, peak)
        error = reply["error"]
        invocation = returned(reply["response"]) if error is None else Errored("error", error)
        return InvocationResult(invocation, reply, seconds, peak)

    def close(self) -> None:
        """Kill the process and its children."""
        process, replies = self._process, self._replies
        self._process = self._replies = None
        if process is None or replies is None:
            return
        operating_system.end(process)
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        replies.wait()

    def _reply(self, until: float, expected_id: str | None = None) -> tuple[dict[str, Any] | None, Errored]:
        """Return the next reply; or None and the reason: a timeout, out of memory, or the process has ended.

        Anything but the reply to the request with this id comes from the handler, by way of a descriptor that is not
        its own: then the state of the process is not known, and the invocation has failed.
        """
        assert self._process is not None  # noqa: S101 - the callers have started it
        assert self._replies is not None  # noqa: S101 - with the process
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._replies.next(min(left, _POLL_SECONDS))
            except queue.Empty:
                used = self._polled_mb(self._process.pid)
                if used is not None and used > self._memory_mb:
                    return None, Errored("killed", f"out of memory: {used:.0f} MB of {self._memory_mb} MB")
            else:
                if not line:
                    return None, self._exited(self._process)
                reply = _reply_in(line, expected_id)
                return (None, _FOREIGN_REPLY) if reply is None else (reply, _FOREIGN_REPLY)
        return None, Errored("timeout", f"Task timed out after {self._timeout:.2f} seconds")

    def _polled_mb(self, pid: int) -> float | None:
        """Return the resident memory, MB; None if the kernel enforces the limit."""
        enforced = self._confinement is not None and self._confinement.limits_memory
        return None if enforced else memory_mb_of(pid)

    def _exited(self, process: subprocess.Popen[bytes]) -> Errored:
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return _FOREIGN_REPLY
        if process.returncode == PIPE_LOST:
            return _FOREIGN_REPLY
        status = exit_status_of(process)
        if self._confinement is not None and self._confinement.out_of_memory():
            return Errored("killed", f"out of memory: over {self._memory_mb} MB")
        return Errored("error", f"Runtime exited {status}")


def request_id(number: int) -> str:
    """Return the request id of the nth invocation: the same in every replay."""
    return f"00000000-0000-4000-8000-{number:012d}"


def returned(response: str) -> Invocation:
    """Return the result of an invocation that returned: an error if the response is larger than Lambda allows."""
    if len(response) > LAMBDA_RESPONSE_BYTES or len(response.encode(errors="surrogatepass")) > LAMBDA_RESPONSE_BYTES:
        limit = f"maximum allowed payload size ({LAMBDA_RESPONSE_BYTES} bytes)"
        return Errored("error", f"Function.ResponseSizeTooLarge: Response payload size exceeded {limit}.")
    return Returned(response)


def _write(pipe: IO[bytes], request: bytes) -> None:
    """Send a request. If the process does not read a large one, this does not wait for it: the timeout ends it."""

    def write() -> None:
        with contextlib.suppress(OSError, ValueError):  # the process has ended, and sends no reply
            pipe.write(request)
            pipe.flush()

    if len(request) < _PIPE_BYTES:
        write()
    else:
        threading.Thread(target=write, name="fanfold-request", daemon=True).start()


def _reply_in(line: bytes, expected_id: str | None) -> dict[str, Any] | None:
    """Return the reply to a request; None if a line is anything else. The first reply has no id."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(reply, dict) or reply.get("id") != expected_id:
        return None
    return reply if expected_id is not None or reply.keys() & {"ready", "failed"} else None


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


def exit_status_of(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended: ``with exit status 1`` or ``by signal SIGKILL``."""
    status = process.wait()
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


def memory_mb_of(pid: int) -> float | None:
    """Return the resident memory of a process in MB; None if the system does not report it."""
    return _mb(operating_system.resident_bytes(pid))


def peak_mb_of(pid: int) -> float | None:
    """Return the peak resident memory of a process and its workers in MB; None if the system does not report it."""
    return _mb(operating_system.peak_with_children(pid))


def _mb(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else round(size_bytes / _MB, 1)


def output_descriptor() -> int:
    """Return the descriptor for a handler's prints: stderr, so that stdout contains only the replay."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # a stderr without a descriptor, as in tests and notebooks
        return subprocess.DEVNULL
