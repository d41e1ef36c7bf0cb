"""Where a thread is."""

import sys
import threading
import traceback
from pathlib import Path

import pytest

from fanfold._base.deadline import Deadline
from fanfold._consumer.blocked_loop import current_user_line, dump_stacks_before
from fanfold.testing import ManualClock


class Thread:
    """A thread that waits in a function until it is let go."""

    def __init__(self, function) -> None:
        self.here, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=function, args=(self,))

    def __enter__(self) -> int:
        self.thread.start()
        assert self.here.wait(10)
        return self.thread.ident

    def __exit__(self, *exc_info: object) -> None:
        self.go.set()
        self.thread.join()


def waits(thread: Thread) -> None:
    thread.here.set()
    thread.go.wait()  # the line


LINE = next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "# the line" in line)


def test_a_thread_is_in_a_line_of_the_users_code():
    """What the line calls in libraries is not what the user can mend."""
    with Thread(waits) as ident:
        assert current_user_line(ident) == f"waits (test_blocked_loop.py, line {LINE}): thread.go.wait()  # the line"


def test_a_thread_without_the_users_code_is_where_it_is():
    """In the innermost line there is."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert "threading.py, line" in current_user_line(thread.ident)
    finally:
        ended.set()
        thread.join()


def test_code_made_at_run_time_is_not_the_users_line():
    """It has no file to look into; who called it has."""
    scope: dict = {}
    exec("def generated(thread):\n    waits(thread)", scope | {"waits": waits}, scope)  # noqa: S102 - that is the point

    def calls_generated(thread: Thread) -> None:
        thread.here.wait(0)
        scope["generated"](thread)

    with Thread(calls_generated) as ident:
        assert current_user_line(ident).startswith("waits (test_blocked_loop.py")


@pytest.mark.parametrize("thread", [None, 0, 1])
def test_a_thread_that_has_ended_is_nowhere(thread: int | None):
    """And that is said."""
    assert current_user_line(thread) == "a thread that has ended"


def test_a_block_that_ends_in_time_dumps_nothing(capfd: pytest.CaptureFixture):
    """The dump is called off."""
    with dump_stacks_before(Deadline.after(0.05)):
        pass
    threading.Event().wait(0.1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("deadline", [Deadline.never(), Deadline(10.0, 1.0, ManualClock(20.0))])
def test_without_time_to_come_no_dump_is_planned(deadline: Deadline):
    """A deadline that never comes, or is past."""
    with dump_stacks_before(deadline):
        pass


class NoFile:
    """A stderr that is no file, as some runtimes have it."""

    def fileno(self) -> int:
        raise OSError("no descriptor")

    def flush(self) -> None: ...


def test_a_stderr_that_is_no_file_is_no_obstacle():
    """The block runs without a dump to come."""
    before, sys.__stderr__ = sys.__stderr__, NoFile()
    try:
        with dump_stacks_before(Deadline.after(30)):
            ran = True
    finally:
        sys.__stderr__ = before
    assert ran


def test_an_error_in_the_block_passes():
    """And the dump is called off."""
    with pytest.raises(ValueError, match="mine"), dump_stacks_before(Deadline.after(30)):
        raise ValueError("mine")


def test_a_thread_between_two_lines_is_still_somewhere(monkeypatch: pytest.MonkeyPatch):
    """The interpreter has no number for the line then; to look must not fail the invocation."""
    walk = traceback.walk_stack
    monkeypatch.setattr(traceback, "walk_stack", lambda frame: ((each, None) for each, _ in walk(frame)))
    with Thread(waits) as ident:
        assert current_user_line(ident).startswith("waits (test_blocked_loop.py, line 0)")
