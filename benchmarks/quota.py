"""Run a measurement with the share of the CPU that a function with some memory has on Lambda.

The kernel enforces the quota if control groups can be created: in each period of 100 ms, all threads of the process
together run for their share, and then wait. Otherwise this process does the same: it reads the processor time of the
measured process every millisecond, stops it by SIGSTOP when its share is used up, and continues it by SIGCONT at the
end of the period. What it uses beyond its share, at most a millisecond for each thread, is deducted from the next one.
"""

import contextlib
import functools
import inspect
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from measure import clean_environment, command_of, fail
from fanfold._base.aws_limits import cpus_of
from fanfold.bench.groups import PERIOD_MICROSECONDS, find_groups, open_group

P = ParamSpec("P")
T = TypeVar("T")
READY = "ready"
PERIOD_SECONDS = PERIOD_MICROSECONDS / 1e6
POLL_SECONDS = 0.001


def wait_for_quota() -> None:
    """Wait, in the measured process, until its CPU is limited: after its imports, as on Lambda."""
    print(READY, flush=True)
    sys.stdin.readline()


def how(memory_mb: int | None, *, signals: bool = False) -> str:
    """Return how the CPU is limited, for readers of the numbers."""
    if memory_mb is None:
        return "CPU not limited"
    groups = find_groups()
    if groups.cpu is None or signals:
        return f"{cpus_of(memory_mb):.3f} of a core, by SIGSTOP and SIGCONT"
    return f"{cpus_of(memory_mb):.3f} of a core, by cgroup v{groups.version}"


def limited(function: Callable[P, T], memory_mb: int, *, signals: bool = False) -> Callable[P, T]:
    """Return a function that runs each call in a separate process with the CPU of a function with this memory.

    The function must be declared with ``isolated``, and call ``wait_for_quota`` once.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with _quota(memory_mb, signals=signals) as (wrap, begin):
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            command = wrap(command_of(inspect.unwrap(function), args, kwargs))
            with subprocess.Popen(command, env=clean_environment(), text=True, **pipes) as child:  # noqa: S603 - ourselves
                assert child.stdout is not None  # noqa: S101 - a pipe
                if child.stdout.readline().strip() == READY:
                    with begin(child.pid):
                        output, errors = child.communicate("\n")
                else:
                    output, errors = child.communicate()
        if child.returncode:
            fail(f"{function.__name__} {args} failed: {(errors.strip().splitlines() or ['no error output'])[-1]}")
        result: T = json.loads(output)
        return result

    return call


@contextmanager
def _quota(memory_mb: int, *, signals: bool) -> Iterator[tuple[Callable[[Sequence[str]], list[str]], Any]]:
    """Yield a function that wraps a command, and one that returns a context in which the process is limited."""
    groups = find_groups()
    if groups.cpu is None or signals:
        yield list, functools.partial(_stopped_and_continued, share=cpus_of(memory_mb))
        return
    with open_group(groups, memory_mb) as group:

        @contextmanager
        def begin(_pid: int) -> Iterator[None]:
            group.limit_cpu()
            yield

        yield group.command, begin


@contextmanager
def _stopped_and_continued(pid: int, share: float) -> Iterator[None]:
    """Let a process use a share of one core until the end of the ``with`` block."""
    ended = threading.Event()

    def control() -> None:
        used, period = _cpu_seconds(pid), time.monotonic()
        while not ended.is_set():
            used, period = used + share * PERIOD_SECONDS, period + PERIOD_SECONDS
            while _cpu_seconds(pid) < used and time.monotonic() < period:
                ended.wait(POLL_SECONDS)
            if _cpu_seconds(pid) >= used:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    ended.wait(max(0.0, period - time.monotonic()))
                    os.kill(pid, signal.SIGCONT)
            else:
                used = _cpu_seconds(pid)  # what is left is not kept for the next period

    thread = threading.Thread(target=control, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of all threads of another process; infinite if it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3) computes this number on Linux
    except OSError:
        return math.inf
