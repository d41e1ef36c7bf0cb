"""The line of the user's code that blocks a thread, and the stack dump before the timeout."""

import sys
import textwrap
import threading
import traceback
from pathlib import Path

import pytest

from command import python
from fanfold._base.deadline import Deadline
from fanfold._consumer.blocked_loop import DumpBefore, current_user_line
from fanfold.testing import ManualClock


class Thread:
    """A thread that waits in a function until it is released."""

    def __init__(self, function) -> None:
        self.started, self.release = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=function, args=(self,))

    def __enter__(self) -> int:
        self.thread.start()
        assert self.started.wait(300)
        return self.thread.ident

    def __exit__(self, *exc_info: object) -> None:
        self.release.set()
        self.thread.join()


def waits(thread: Thread) -> None:
    thread.started.set()
    thread.release.wait()  # the line


LINE = next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "# the line" in line)


def test_the_current_line_is_a_line_of_the_users_code():
    """Lines of libraries that it calls are skipped."""
    with Thread(waits) as ident:
        assert (
            current_user_line(ident) == f"waits (test_blocked_loop.py, line {LINE}): thread.release.wait()  # the line"
        )


def test_a_thread_without_user_code_is_in_its_innermost_line():
    """A line of a library is better than none."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        assert "threading.py, line" in current_user_line(thread.ident)
    finally:
        ended.set()
        thread.join()


def test_code_generated_at_run_time_is_skipped():
    """Generated code has no source file, but its caller has."""
    scope: dict = {}
    exec("def generated(thread):\n    waits(thread)", scope | {"waits": waits}, scope)  # noqa: S102 - the test needs generated code

    def calls_generated(thread: Thread) -> None:
        thread.started.wait(0)
        scope["generated"](thread)

    with Thread(calls_generated) as ident:
        assert current_user_line(ident).startswith("waits (test_blocked_loop.py")


@pytest.mark.parametrize("thread", [None, 0, 1])
def test_a_thread_that_has_ended_has_no_line(thread: int | None):
    """The result states that the thread has ended."""
    assert current_user_line(thread) == "a thread that has ended"


def test_a_block_that_ends_in_time_dumps_nothing(capfd: pytest.CaptureFixture):
    """The scheduled dump is cancelled."""
    with DumpBefore(Deadline.after(0.05)):
        pass
    threading.Event().wait(0.1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("deadline", [Deadline.never(), Deadline(10.0, 1.0, ManualClock(20.0))])
def test_without_remaining_time_no_dump_is_scheduled(deadline: Deadline):
    """The deadline is infinite or has passed."""
    with DumpBefore(deadline):
        pass


class NoFile:
    """A stderr without a file descriptor, as in some runtimes."""

    def fileno(self) -> int:
        raise OSError("no descriptor")

    def flush(self) -> None: ...


def test_a_stderr_without_a_file_descriptor_is_supported():
    """The block runs without a scheduled dump."""
    before, sys.__stderr__ = sys.__stderr__, NoFile()
    try:
        with DumpBefore(Deadline.after(30)):
            ran = True
    finally:
        sys.__stderr__ = before
    assert ran


def test_an_error_in_the_block_is_raised():
    """The scheduled dump is cancelled then."""
    with pytest.raises(ValueError, match="mine"), DumpBefore(Deadline.after(30)):
        raise ValueError("mine")


def test_a_thread_between_two_lines_is_in_line_0(monkeypatch: pytest.MonkeyPatch):
    """The interpreter has no line number then; this must not fail the invocation."""
    walk = traceback.walk_stack
    monkeypatch.setattr(traceback, "walk_stack", lambda frame: ((caller, None) for caller, _ in walk(frame)))
    with Thread(waits) as ident:
        assert current_user_line(ident).startswith("waits (test_blocked_loop.py, line 0)")


BEFORE = """
    import faulthandler, os, signal, sys, time
    from fanfold._base.deadline import Deadline
    from fanfold._consumer.blocked_loop import DumpBefore

    def rings(seconds):
        # Wait for a moment at which a dump is due; the wait needs no assertion about time.
        signal.sigtimedwait([], seconds)
"""


def dumps_of(program: str) -> tuple[str, int]:
    """Run a program, and return what it printed and the number of its dumps."""
    child = python(textwrap.dedent(BEFORE) + textwrap.dedent(program))
    assert child.returncode == 0, child.stderr
    return child.stdout, child.stderr.count("(most recent call first)")


@pytest.mark.linux
def test_the_alarm_signal_is_free_again_after_the_block():
    """The user's code may use it between two invocations."""
    program = """
        with DumpBefore(Deadline.after(30)):
            print(signal.getitimer(signal.ITIMER_REAL)[0] > 0)
        print(signal.getitimer(signal.ITIMER_REAL), faulthandler.unregister(signal.SIGALRM))
    """
    assert dumps_of(program) == ("True\n(0.0, 0.0) False\n", 0)


@pytest.mark.linux
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_the_dump_is_due_before_a_handler_starts(kind: str):
    """The first line of a handler can take the interpreter lock and keep it."""
    program = f"""
        import fanfold
        from fanfold.testing import make_context, make_event

        @fanfold.consumer
        {kind} handler(body):
            print(signal.getitimer(signal.ITIMER_REAL)[0] > 0)

        for _ in range(2):
            handler(make_event(1), make_context(60))
    """
    assert dumps_of(program) == ("True\nTrue\n", 0)


@pytest.mark.linux
def test_a_block_that_takes_too_long_is_dumped():
    """The dump names each thread."""
    assert dumps_of("with DumpBefore(Deadline.after(0.1)): rings(0.4)") == ("", 1)


@pytest.mark.linux
def test_a_handler_of_the_alarm_signal_is_not_replaced():
    """It is the user's; the stacks are dumped without it."""
    program = """
        signal.signal(signal.SIGALRM, lambda *_: print("mine"))
        with DumpBefore(Deadline.after(0.2)):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            rings(0.5)
            rings(0.5)
    """
    assert dumps_of(program) == ("mine\n", 1)


@pytest.mark.linux
def test_a_timer_of_the_users_is_not_replaced():
    """It would never ring."""
    program = """
        signal.setitimer(signal.ITIMER_REAL, 100)
        with DumpBefore(Deadline.after(0.1)):
            rings(0.4)
        print(signal.getitimer(signal.ITIMER_REAL)[0] > 90)
    """
    assert dumps_of(program) == ("True\n", 1)


@pytest.mark.linux
def test_invocations_that_overlap_are_each_dumped_at_their_time():
    """The timer is set to the earliest, and then to the next."""
    program = """
        with DumpBefore(Deadline.after(60)):
            with DumpBefore(Deadline.after(0.1)):
                rings(0.4)
            left = signal.getitimer(signal.ITIMER_REAL)[0]
        print(30 < left < 60, signal.getitimer(signal.ITIMER_REAL))
    """
    assert dumps_of(program) == ("True (0.0, 0.0)\n", 1)


@pytest.mark.linux
def test_a_fork_inside_the_block_has_an_alarm_of_its_own():
    """A timer is not inherited, and what the parent waits for is not the child's."""
    program = """
        outer = DumpBefore(Deadline.after(60))
        with outer:
            if os.fork() == 0:
                with DumpBefore(Deadline.after(0.1)):
                    rings(0.4)
                outer.__exit__()
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        print(signal.getitimer(signal.ITIMER_REAL))
    """
    assert dumps_of(program) == ("0\n(0.0, 0.0)\n", 1)
