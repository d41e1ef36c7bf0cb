"""Find the line that blocks a thread, and dump all stacks shortly before the invocation times out."""

from __future__ import annotations

import faulthandler
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from fanfold._base.deadline import Deadline


def current_user_line(thread: int | None) -> str:
    """Return the line of the user's code that a thread executes: ``handler (app.py, line 12): time.sleep(60)``."""
    import linecache  # not imported at cold start
    import traceback

    frame = sys._current_frames().get(thread or 0)  # noqa: SLF001 - the documented way
    if frame is None:
        return "a thread that has ended"
    stack = [(caller.f_code, line or 0) for caller, line in traceback.walk_stack(frame)]  # None between two lines
    user_code = [(code, line) for code, line in stack if not _is_library(code.co_filename)]
    code, line = (user_code or stack)[0]
    text = linecache.getline(code.co_filename, line).strip()
    file = os.path.basename(code.co_filename)  # noqa: PTH119 - as above
    return f"{code.co_name} ({file}, line {line}){f': {text}' if text else ''}"


def _is_library(file: str) -> bool:
    package, standard = os.path.dirname(os.path.dirname(__file__)), os.path.dirname(os.__file__)  # noqa: PTH120 - as above
    return file.startswith((package, standard, "<")) or "site-packages" in file or "dist-packages" in file


class DumpBefore:
    """Dumps the stacks of all threads to stderr shortly before the timeout, unless it is disarmed before.

    Works even if a call holds the interpreter lock and blocks every thread.

    Args:
        deadline: The deadline of the invocation.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._end: Callable[[], object] | None = None

    def arm(self) -> None:
        """Schedule the dump, unless that has been done."""
        deadline = self._deadline
        if self._end is None and (seconds := deadline.until(deadline.ends_at - deadline.margin / 16)):
            self._end = _ALARM.dump_in(seconds) or _dump_in(seconds)

    def disarm(self) -> None:
        """Revoke the dump."""
        if self._end is not None:
            self._end()
            self._end = None

    __enter__ = arm

    def __exit__(self, *_: object) -> None:
        self.disarm()


class _Alarm:
    """Dumps stacks by SIGALRM, which costs a tenth of faulthandler's own thread. It is used only while it is free.

    Invocations that overlap share the timer: it is set to the earliest moment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[float] = []
        """Moments at which to dump, by ``time.monotonic``, of the invocations that run."""
        self._pid = os.getpid()

    def dump_in(self, seconds: float) -> Callable[[], object] | None:
        """Dump in some seconds; return what revokes that, or None if SIGALRM is in use or this system lacks it."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._due.clear()  # a fork keeps no timer
            due = time.monotonic() + seconds
            if not self._due and not self._take(seconds):
                return None
            self._due.append(due)
            if len(self._due) > 1:
                self._set()
            return functools.partial(self._revoke, due)

    def _revoke(self, due: float) -> None:
        """Dump nothing at a moment; give SIGALRM back if nothing else is due."""
        with self._lock:
            if due not in self._due:  # after a fork
                return
            self._due.remove(due)
            if self._due:
                self._set()
                return
            signal.setitimer(signal.ITIMER_REAL, 0)
            if due - time.monotonic() > _SIGNAL_SECONDS:  # otherwise, a signal may be on its way
                faulthandler.unregister(signal.SIGALRM)

    def _take(self, seconds: float) -> bool:
        """Make SIGALRM dump the stacks in some seconds, unless the user's code has a handler or a timer."""
        try:
            if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
                return False
            faulthandler.register(signal.SIGALRM, file=sys.__stderr__ or sys.stderr)
            before = signal.setitimer(signal.ITIMER_REAL, seconds)
        except (AttributeError, OSError, RuntimeError, ValueError):
            return False  # Windows, or stderr is not a file
        if before[0]:
            signal.setitimer(signal.ITIMER_REAL, *before)
            faulthandler.unregister(signal.SIGALRM)
        return not before[0]

    def _set(self) -> None:
        now = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, min((due - now for due in self._due if due > now), default=0.0))


_ALARM: Final = _Alarm()
_SIGNAL_SECONDS: Final = 0.1
"""Time in which a signal that is due is delivered."""


def _dump_in(seconds: float) -> Callable[[], object] | None:
    """Dump in some seconds by a thread of faulthandler, in place of an earlier dump; return as ``_Alarm.dump_in``."""
    try:
        faulthandler.dump_traceback_later(seconds, file=sys.__stderr__ or sys.stderr)
    except (AttributeError, OSError, RuntimeError, ValueError):  # stderr is not a file
        return None
    return faulthandler.cancel_dump_traceback_later
