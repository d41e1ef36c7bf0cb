"""Find the line that blocks a thread, and dump all stacks shortly before the invocation times out."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def dump_stacks_before(deadline: Deadline) -> Iterator[None]:
    """Dump the stacks of all threads to stderr shortly before the timeout, if the block still runs then.

    Works even if a call holds the interpreter lock and blocks every thread.
    """
    seconds = deadline.until(deadline.ends_at - deadline.margin / 16)
    armed = bool(seconds) and _arm(seconds or 0.0)
    try:
        yield
    finally:
        if armed:
            faulthandler.cancel_dump_traceback_later()


def _arm(seconds: float) -> bool:
    try:
        faulthandler.dump_traceback_later(seconds, file=sys.__stderr__ or sys.stderr)
    except (AttributeError, OSError, RuntimeError, ValueError):
        return False  # stderr is not a file
    return True
