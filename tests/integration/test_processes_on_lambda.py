"""Worker processes under Lambda's runtime client: no fork of the function's process, no ``/dev/shm``, no semaphores."""

import functools
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import runtime_api
from fanfold.testing import make_event
from runtime_api import Function

pytest.importorskip("awslambdaric", reason="Lambda's runtime client is not installed")

APP = """
    import os, re, signal, sys, time
    import fanfold

    def no_fork(*_):
        raise OSError("fork is not allowed")

    os.fork = no_fork
    sys.modules["multiprocessing"] = sys.modules["_multiprocessing"] = None

    @fanfold.consumer(processes=2, timeout=1)
    def handler(body: dict, ctx: fanfold.Context) -> None:
        assert ctx.lambda_context.function_name == "orders"
        if body["do"] == "stick":
            re.match("(a+)+$", "a" * 60 + "b")
        if body["do"] == "crash":
            signal.raise_signal(signal.SIGSEGV)
        if body["do"] == "share memory":
            open("/dev/shm/file", "w").close()
        if body["do"] == "fork":
            os.fork()
        if body["do"] == "fail":
            print("printed by a process")
            raise ValueError(body)
"""
NOTHING = {"do": "nothing"}
WITHOUT_SHARED_MEMORY = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh")
"""Runs a program with a read-only ``/dev/shm``: on Lambda, the folder does not exist."""


@functools.cache
def restricts_shared_memory() -> bool:
    """Return whether this system allows it: containers and distributions may refuse."""
    try:
        trial = subprocess.run([*WITHOUT_SHARED_MEMORY, "true"], capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return False
    return trial.returncode == 0


def function(folder: Path, source: str) -> AbstractContextManager[Function]:
    """Start a function without shared memory, where the system allows it."""
    return runtime_api.function(folder, source, command=WITHOUT_SHARED_MEMORY if restricts_shared_memory() else ())


def children(running: Function) -> list[int]:
    """Return the ids of the processes that any thread of the function's process has started."""
    files = Path(f"/proc/{running.process.pid}/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text().split()]


def state_of(pid: int) -> str:
    """Return the state of a process: ``R``, ``S``, ``T`` for stopped; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the operating system has done something."""
    while not condition():
        os.sched_yield()


def test_batches_get_their_responses_cold_warm_and_after_kills_and_crashes(tmp_path):
    """Each failure has one message; the next batch has both processes again."""
    with function(tmp_path, APP) as running:
        assert running.invoke(NOTHING, NOTHING, {"do": "fail"}).failed_ids == ["message-2"]
        for _ in range(5):
            assert running.invoke(*[NOTHING] * 10).failed_ids == []
        assert running.invoke(NOTHING, {"do": "stick"}, NOTHING).failed_ids == ["message-1"]
        assert running.invoke(NOTHING, {"do": "crash"}, NOTHING).failed_ids == ["message-1"]
        assert running.invoke(*[NOTHING] * 10).failed_ids == []
        assert len(children(running)) == 2
        assert "printed by a process\n" in running.log
        assert "the worker process ended while it ran the handler: signal SIGSEGV" in running.log


def test_the_other_tests_run_without_shared_memory_and_without_forks(tmp_path):
    """A handler that needs either fails, in its worker process."""
    if not restricts_shared_memory():
        pytest.skip("this system does not allow a private /dev/shm")
    with function(tmp_path, APP) as running:
        assert running.invoke({"do": "share memory"}, NOTHING).failed_ids == ["message-0"]
        assert "Read-only file system: '/dev/shm/file'" in running.log
        assert running.invoke({"do": "fork"}, NOTHING).failed_ids == ["message-0"]
        assert "fork is not allowed" in running.log


def test_the_response_to_a_stuck_record_arrives_before_the_timeout_and_nothing_runs_after_it(tmp_path):
    """The process is ended at the deadline, although the handler has no timeout."""
    source = APP.replace("timeout=1", "deadline_margin=0.8")
    with function(tmp_path, source) as running:
        response = running.invoke(NOTHING, {"do": "stick"}, NOTHING, seconds=2)
        assert response.failed_ids == ["message-1"]
        assert response.seconds_left > 0
        assert running.invoke(NOTHING).failed_ids == []


def test_processes_go_on_after_the_execution_environment_was_frozen(tmp_path):
    """All processes are stopped and continued, as by Lambda between two invocations."""
    with function(tmp_path, APP) as running:
        assert running.invoke(NOTHING).failed_ids == []
        pids = [*children(running), running.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: all(state_of(pid) == "T" for pid in pids))
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        assert running.invoke(*[NOTHING] * 10).failed_ids == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_the_function_even_inside_a_regular_expression(tmp_path, number):
    """The kernel ends them when the life pipe is closed."""
    with function(tmp_path, APP.replace("timeout=1", "timeout=60")) as running:
        assert running.invoke(NOTHING, NOTHING).failed_ids == []
        pids = children(running)
        running.start(make_event({"do": "stick"}))
        wait_until(lambda: any(state_of(pid) == "R" for pid in pids))
        os.kill(running.process.pid, number)
        wait_until(lambda: not any(state_of(pid) in {"R", "S"} for pid in pids))
