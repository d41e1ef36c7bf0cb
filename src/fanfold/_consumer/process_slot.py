"""One worker process, as its consumer sees it: start it, send it frames, stop it, and notice its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol
from weakref import WeakSet

from fanfold._base.log import BatchLogger
from fanfold._consumer.process_wire import NOTHING, Messages, Page, encode, new_page

_KILL_SECONDS: Final = 0.05
"""Time between SIGTERM and SIGKILL."""
RETIRE_SECONDS: Final = 2.0
"""Time that a process has to end its lifespan."""
_RECEIVE_BYTES: Final = 1 << 14
"""Most bytes for a turn of the event loop: about 40 log records."""
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[4:]; from fanfold._consumer.process_child import main; main(*sys.argv[1:4])"
)
"""The program of a process: it finds modules where this process does, without a change of its environment."""
_POLL_SECONDS: Final = 0.002
"""Interval of looks at a process that is ending, where the system does not report the end."""


class Child:
    """A started process, before an event loop is attached to it."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self.socket, their_socket = socket.socketpair()
            ours.callback(self.socket.close)
            theirs.callback(their_socket.close)
            life, self.life = os.pipe()
            ours.callback(os.close, self.life)
            theirs.callback(os.close, life)
            descriptor = new_page()
            theirs.callback(os.close, descriptor)
            self.page = Page(descriptor)
            ours.callback(self.page.close)
            _CHILDREN.add(self)
            passed = (their_socket.fileno(), descriptor, life)
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-c", _PROGRAM, *map(str, passed), *sys.path],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
            self.socket.settimeout(0)
            ours.callback(_CHILDREN.discard, self)
            self._free = ours.pop_all()

    def hang_up(self) -> None:
        """Let the process end its lifespan and itself, once it has no records."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self, grace_seconds: float = 0.0) -> None:
        """End the process, after a time in which it may end itself, and free what it used."""
        if grace_seconds > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._free.close()

    def let_go(self) -> None:
        """Let a process that was forked from this one not keep the worker process running: it has copies of the ends.

        Their numbers stay taken, so whatever closes them later closes nothing else.
        """
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (self.life, self.socket.fileno()):
            os.dup2(null, descriptor, inheritable=False)
        os.close(null)


_CHILDREN: Final[WeakSet[Child]] = WeakSet()
"""The worker processes that have not been closed."""


def _let_go_of_all() -> None:
    for child in list(_CHILDREN):
        child.let_go()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, which has no worker processes
    os.register_at_fork(after_in_child=_let_go_of_all)


class Owner(Protocol):
    """Is notified of a slot, on the event loop."""

    def received(self, slot: Slot, message: Any) -> None:
        """Note a message of the process."""
        ...

    def died(self, slot: Slot, how: str) -> None:
        """Note that the process has ended, and how, as text."""
        ...


class Slot:
    """A process on an event loop.

    Args:
        child: The process.
        owner: Is notified.
        loop: The event loop.
    """

    def __init__(self, child: Child, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.page = child.page
        self.frame: int = 0
        """Number of the last frame."""
        self.jobs: Sequence[Any] = ()
        """The records of this frame."""
        self.seen: int = 0
        """Number of these that are known to have ended."""
        self.batch: object = None
        """The batch that it knows."""
        self.size: int = 1
        """Maximum number of records in the next frame."""
        self.sent_at: float = 0.0
        self.records: int = 0
        """Number of records that it has run."""
        self.weighed_at: float = 0.0
        """When its memory was looked at."""
        self.is_ready: bool = False
        """True once it has imported the handler."""
        self.killed_for: str = ""
        """Why it is being ended; empty otherwise."""
        self.target: int = NOTHING
        """Position of the record that it is being ended for: it fails, even if its handler still returns."""
        self.pid: int = child.process.pid
        """The id of the process."""
        self._child = child
        self._owner = owner
        self._loop = loop
        self._messages = Messages()
        self._logger = BatchLogger()  # it may be every message
        self._unsent = bytearray()
        self._ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(child.socket, self._receive)
        self._pidfd = _pidfd_of(child.process.pid)
        if self._pidfd is not None:
            loop.add_reader(self._pidfd, self._reap)

    @property
    def has_died(self) -> bool:
        """True once its process has ended."""
        return self._ended.done()

    @property
    def running(self) -> int:
        """Position in the frame of the record that runs; ``NOTHING`` for none."""
        frame, position, _ = self.page.running
        return position if frame == self.frame else NOTHING

    @property
    def begun(self) -> int:
        """Number of records of the frame that may have started."""
        frame, position, _ = self.page.running
        if frame != self.frame:
            return 0
        return len(self.jobs) if position == NOTHING else position + 1

    @property
    def running_seconds(self) -> float:
        """Seconds for which the record has been running; 0 if none does."""
        frame, position, started_at = self.page.running
        return 0.0 if frame != self.frame or position == NOTHING else time.monotonic() - started_at

    def send(self, message: object) -> None:
        """Send a message, in the background if the process does not read it now."""
        self._unsent += encode(message)
        self._write()

    def start_frame(self, jobs: Sequence[Any], payload: list[Any], stops_at: float) -> None:
        """Send records to a process that has none."""
        self.frame, self.jobs, self.seen, self.sent_at = self.frame + 1, jobs, 0, time.monotonic()
        self.page.clear(stops_at)
        self.send(("frame", self.frame, payload))

    def kill(self, reason: str) -> None:
        """End the process: let the handler's ``finally`` blocks run for a moment, and then end it for good."""
        if self.killed_for or self.has_died:
            return
        self.killed_for = reason
        self.page.limit = 0  # nothing else starts
        self.target = self.running
        self.page.target = (self.frame, self.target)
        self._signal(signal.SIGTERM)
        self._loop.call_later(_KILL_SECONDS, self.kill_now)

    def kill_now(self) -> None:
        """End the process for good."""
        if not self.has_died:
            self._signal(signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until the process has ended."""
        await asyncio.shield(self._ended)

    def retire(self) -> None:
        """Let a process that has no records end its lifespan and itself."""
        self.killed_for = "retired"
        self._child.hang_up()
        self._loop.call_later(RETIRE_SECONDS, self.kill_now)

    def hang_up(self) -> None:
        """Let the process end its lifespan and itself, without notifying the owner; ``close`` must follow."""
        if not self.has_died:
            self._detach()
            self._ended.set_result(None)
            self._child.hang_up()

    def close(self, grace_seconds: float) -> None:
        """End the process after ``hang_up``, and wait for its end: immediately, if it does not run or is not ready."""
        self._child.close(grace_seconds if self.is_ready else 0.0)

    def _signal(self, number: signal.Signals) -> None:
        send = os.killpg if number is signal.SIGKILL else os.kill
        with contextlib.suppress(ProcessLookupError):
            send(self._child.process.pid, number)
        if self._pidfd is None:
            self._loop.call_later(_POLL_SECONDS, self._reap)

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._child.socket.send(self._unsent)]
            self._loop.remove_writer(self._child.socket)
        except BlockingIOError:
            self._loop.add_writer(self._child.socket, self._write)
        except OSError:  # the process has ended
            self._unsent.clear()
            self._loop.remove_writer(self._child.socket)

    def _receive(self) -> None:
        """Take what has arrived, once a turn of the loop: a handler may log faster than log handlers write."""
        data = self._arrived()
        if data:
            self._take(data)
        elif data is not None:
            self._loop.remove_reader(self._child.socket)
            self.kill_now()  # it is ending, or a handler has closed its descriptors
            self._reap()

    def _arrived(self) -> bytes | None:
        """Return what has arrived; empty at the end, and None if nothing has."""
        try:
            return self._child.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            self._pass_on(message)

    def _pass_on(self, message: bytes) -> None:
        """Notify the owner of a message. An error, such as one of a log filter, must not affect other messages."""
        try:
            self._owner.received(self, pickle.loads(message))  # noqa: S301 - from our own child
        except Exception:  # a record whose outcome is lost fails at the end of its frame
            self._logger.exception("a message of a worker process could not be read")

    def _reap(self) -> None:
        """Notice the death, once it has happened."""
        if self.has_died:
            return
        if self._child.process.poll() is None:
            if self._pidfd is None:
                self._loop.call_later(_POLL_SECONDS, self._reap)
            return
        while data := self._arrived():
            self._take(data)
        self._detach()
        self._ended.set_result(None)
        self._owner.died(self, _words(self._child.process.returncode))
        self._child.close()

    def _detach(self) -> None:
        self._loop.remove_reader(self._child.socket)
        self._loop.remove_writer(self._child.socket)
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)


def _pidfd_of(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"signal {-code}"
