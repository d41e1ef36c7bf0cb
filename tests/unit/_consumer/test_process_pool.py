"""The pool of worker processes: what happens at its edges."""

import asyncio
import os
import pickle
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fanfold
import process_app
from fanfold import Record
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._consumer import process_pool
from fanfold._consumer.process_handlers import Registered, consumer, settings_of
from fanfold._consumer.process_pool import ProcessPool
from fanfold._consumer.process_slot import Child
from fanfold._consumer.process_start import Processes
from fanfold._consumer.process_values import context_of, described, error_of, restored
from fanfold.errors import ConfigurationError, WorkerProcessError
from fanfold.testing import make_context, make_record

NOTHING = {"do": "nothing"}


def record_of(body: object) -> Record:
    return Record(make_record(body))


def shared(seconds: float = 30) -> BatchContext[None]:
    return BatchContext(make_context(seconds), Deadline.after(seconds), None)


@asynccontextmanager
async def opened(function: Any = process_app.act, **settings: Any) -> AsyncIterator[ProcessPool]:
    """Open the processes of a handler."""
    pool = Processes(function, fanfold.Settings(**{"processes": 1, **settings})).open(None)
    try:
        yield pool
    finally:
        pool.close()


# --- Starts.


async def test_processes_that_were_started_during_init_run_the_first_batch(monkeypatch):
    """Lambda does not limit the CPU during the init phase."""
    processes = Processes(process_app.handler.function, fanfold.Settings(processes=2))
    processes.start()
    pool = processes.open(None)
    batch = pool.begin(shared(), None, keeps_values=True)
    pids = pool.pids
    assert await pool.call(record_of({"do": "pid"}), batch) == fanfold.Done(pids[0]) or len(pids) == 2
    pool.close()


def test_a_function_on_lambda_starts_its_processes_when_it_is_imported(monkeypatch):
    """They end with the consumer, also if no batch has used them."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    created = process_app.handler.with_settings(timeout=3)
    processes = created._batches.processes
    assert processes is not None
    (first, second) = processes._started
    created.close()
    assert first.process.returncode == second.process.returncode == -signal.SIGKILL


def test_no_process_is_started_for_a_snapshot_or_before_the_function_is_forked(monkeypatch):
    """SnapStart and Managed Instances."""
    processes = Processes(process_app.handler.function, fanfold.Settings(processes=2))
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    processes.start()
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE")
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "2")
    processes.start()
    assert processes._started == []


async def test_a_forked_process_does_not_use_the_processes_of_its_parent():
    """Both would read from the same socket."""
    processes = Processes(process_app.handler.function, fanfold.Settings(processes=1))
    processes.start()
    (started,) = processes._started
    processes._started_by = -1
    pool = processes.open(None)
    assert pool.pids != [started.process.pid]
    pool.close()
    started.close()


async def test_each_record_fails_in_one_line_if_no_process_can_be_started(monkeypatch):
    """The limit of processes is reached."""

    def refuse() -> Child:
        raise OSError("too many processes")

    monkeypatch.setattr(process_pool, "Child", refuse)
    async with opened() as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        with pytest.raises(WorkerProcessError, match=r"^no worker process can be started: too many processes$"):
            await pool.call(record_of(NOTHING), batch)


async def test_the_other_processes_go_on_if_one_cannot_be_replaced(monkeypatch):
    """One of two dies at the limit of processes."""
    async with opened(process_app.handler.function, processes=2) as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        await asyncio.gather(*(pool.call(record_of(NOTHING), batch) for _ in range(4)))

        def refuse() -> Child:
            raise OSError("too many processes")

        monkeypatch.setattr(process_pool, "Child", refuse)
        with pytest.raises(WorkerProcessError):
            await pool.call(record_of({"do": "die"}), batch)
        assert await pool.call(record_of(NOTHING), batch) is None
        assert len(pool.pids) == 1


def only_here(body: object) -> None: ...


async def test_a_handler_that_its_module_does_not_have_in_a_process_fails_in_one_line(monkeypatch):
    """The error names the module and the handler."""
    monkeypatch.setattr(process_app, "only_here", only_here, raising=False)
    monkeypatch.setattr(only_here, "__module__", "process_app")
    async with opened(only_here) as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        with pytest.raises(WorkerProcessError, match="process_app does not have only_here when it is imported"):
            await pool.call(record_of(NOTHING), batch)


# --- Frames.


async def test_large_bodies_travel_in_small_frames_and_batches_in_different_ones():
    """Each body is 100 KB, and a frame has at most 256 KB."""
    async with opened(process_app.handler.function) as pool:
        batches = [pool.begin(shared(), None, keeps_values=True) for _ in range(2)]
        bodies = [{"do": "return", "value": "x" * 100_000}] * 12
        calls = [pool.call(record_of(body), batches[number % 2]) for number, body in enumerate(bodies)]
        results = await asyncio.gather(*calls)
    assert results == [fanfold.Done("x" * 100_000)] * 12


async def test_a_record_that_is_cancelled_while_it_waits_does_not_run():
    """It would end its process."""
    async with opened(process_app.handler.function) as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        first = asyncio.ensure_future(pool.call(record_of({"do": "sleep", "value": 0.1}), batch))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(pool.call(record_of({"do": "die"}), batch))
        third = asyncio.ensure_future(pool.call(record_of(NOTHING), batch))
        await asyncio.sleep(0)
        second.cancel()
        assert await asyncio.gather(first, third) == [None, None]
        assert second.cancelled()


async def test_a_process_above_its_share_of_the_memory_is_replaced(monkeypatch):
    """The share is half a megabyte."""
    monkeypatch.setattr(process_pool, "_WEIGH_SECONDS", 0.0)
    pool = Processes(process_app.handler.function, fanfold.Settings(processes=1)).open(1024 * 1024)
    batch = pool.begin(shared(), None, keeps_values=True)
    first, second = [await pool.call(record_of({"do": "pid"}), batch) for _ in range(2)]
    pool.close()
    assert first != second


async def test_the_memory_of_the_consumer_includes_that_of_its_processes():
    """The memory guard decides from the sum."""
    async with opened(process_app.handler.function) as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        await pool.call(record_of(NOTHING), batch)
        total = pool.resident_bytes()
        assert total is not None
        from fanfold._base.operating_system import private_bytes, resident_bytes

        assert private_bytes(pool.pids[0]) > 1_000_000
        assert total > (resident_bytes() or 0)
        assert private_bytes(2**30) == 0


async def test_a_log_record_of_a_process_that_dies_immediately_is_not_lost(caplog):
    """Its frame is not the current one; the level of the logger applies."""
    async with opened(process_app.handler.function) as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        await pool.call(record_of({"do": "log", "value": 1}), batch)
        pool.received(
            pool._slots[0], ("log", 99, 0, {"name": "app", "levelno": 30, "levelname": "WARNING", "msg": "late"})
        )
        pool.received(
            pool._slots[0], ("log", 99, 0, {"name": "app", "levelno": 10, "levelname": "DEBUG", "msg": "too detailed"})
        )
    assert "late" in caplog.text
    assert "too detailed" not in caplog.text


async def test_a_process_that_dies_between_two_records_loses_none():
    """The next record runs in another process."""
    async with opened(process_app.handler.function) as pool:
        batch = pool.begin(shared(), None, keeps_values=True)
        await pool.call(record_of(NOTHING), batch)
        os.kill(pool.pids[0], signal.SIGKILL)
        assert await pool.call(record_of(NOTHING), batch) is None


async def test_a_record_for_which_no_process_is_free_in_time_is_not_started():
    """It is redelivered."""
    async with opened(process_app.handler.function) as pool:
        await pool.call(record_of(NOTHING), pool.begin(shared(), None, keeps_values=True))
        late = pool.begin(shared(0.0), None, keeps_values=True)
        assert await pool.call(record_of(NOTHING), late) == fanfold.NotStarted("the invocation was about to time out")


def test_the_environment_overrides_the_number_of_processes(monkeypatch):
    """It is read at the first use, and ``auto`` does not change anything."""
    processes = [Processes(process_app.act, fanfold.Settings(processes=2)) for _ in range(2)]
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "3")
    assert processes[0].count == 3
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "auto")
    assert processes[1].count == process_app.handler.concurrency == 2


def test_processes_are_as_many_as_cpus_outside_of_lambda_and_refused_without_signals(monkeypatch):
    """MacOS has no affinity, and Windows no process groups."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)
    assert Processes(process_app.act, fanfold.Settings(processes="auto")).count == 3
    monkeypatch.delattr(os, "killpg")
    with pytest.raises(ConfigurationError, match="processes needs signals, which this platform does not have"):
        Processes(process_app.act, fanfold.Settings(processes="auto"))


# --- What a worker process registers.


def test_a_consumer_in_a_worker_process_only_registers_its_function():
    """It starts nothing, and loads no event loop."""

    def function(body: object) -> None: ...

    plain, other = consumer(function), consumer(processes=2)(lambda body: None)
    assert plain.function is function
    assert plain.with_settings(timeout=1).function is function
    assert settings_of(other.function) == {"processes": 2}
    assert plain.add_observer(object()) is None
    assert plain.close() is None
    assert other.with_function(function).settings == {"processes": 2}
    with pytest.raises(ConfigurationError, match="is a consumer; a worker process cannot run its batches"):
        Registered(function, {})({}, None)


# --- What travels.


class Odd:
    """A context that cannot be pickled."""

    aws_request_id = "id"

    def __reduce__(self) -> Any:
        raise TypeError


def test_a_context_that_cannot_be_pickled_keeps_its_plain_values():
    """Strings and numbers, and the deadline."""
    context, deadline = context_of(described(BatchContext(Odd(), Deadline.after(5), None)))
    assert context.aws_request_id == "id"
    assert 4 < deadline.remaining() <= 5


def refuse_to_load() -> Any:
    raise ValueError


class Unloadable:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return refuse_to_load, ()


def test_an_error_that_cannot_be_unpickled_keeps_its_text():
    """Its traceback is a note."""
    error = restored(pickle.dumps(Unloadable()), "Odd: text", "stack")
    assert str(error) == "Odd: text"
    assert error.__notes__ == ["In the worker process:\nstack"]


def test_the_error_of_a_killed_record_says_why():
    """A timeout is a TimeoutError."""
    assert isinstance(error_of("the handler took longer than 1 s", "signal SIGKILL"), TimeoutError)
    assert str(error_of("", "exit code 3")) == "the worker process ended while it ran the handler: exit code 3"
