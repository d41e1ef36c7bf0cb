"""Worker processes whose handlers return, raise, log, fork and close odd things: no other record is affected."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fanfold
import odd_process_app
from batches import kinds
from fanfold import Done, Failed, Record
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._consumer.process_pool import ProcessPool
from fanfold._consumer.process_start import Processes
from fanfold.errors import WorkerProcessError
from fanfold.testing import make_context, make_event, make_record

NOTHING = {"do": "nothing"}


def run(what: str, handler: Any = odd_process_app.handler, seconds: float = 30) -> Any:
    """Process a batch with one odd record between others, which must be done; return its outcome."""
    result = handler.invoke(make_event(NOTHING, NOTHING, {"do": what}, NOTHING, NOTHING), make_context(seconds))
    *others, odd = [result.outcomes[position] for position in (0, 1, 3, 4, 2)]
    assert others == [Done()] * 4
    return odd


@pytest.fixture(autouse=True, scope="module")
def _ends_processes() -> Iterator[None]:
    """End the worker processes of the consumers."""
    yield
    odd_process_app.handler.close()


def pool_of(processes: int = 1) -> ProcessPool:
    return Processes(odd_process_app.handler.function, fanfold.Settings(processes=processes)).open(None)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_running(pid: int) -> bool:
    """Return whether a process has not ended."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


def batch_of(pool: ProcessPool, timeout: float | None = None) -> Any:
    return pool.begin(BatchContext(make_context(30), Deadline.after(30), None), timeout, keeps_values=True)


def calls_of(pool: ProcessPool, batch: Any, *names: str) -> list[asyncio.Future[Any]]:
    """Begin to run records."""
    return [asyncio.ensure_future(pool.call(Record(make_record({"do": name})), batch)) for name in names]


# --- What they return, raise and log.


def test_a_value_that_the_consumer_cannot_load_fails_its_record_alone():
    """The messages behind it in the same read of the socket are not lost."""
    outcome = run("return an error in Done")
    assert isinstance(outcome, Failed)
    text = "the handler returned a value that cannot be sent to the consumer: TypeError: UnloadableError.__init__"
    assert str(outcome.error).startswith(text)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("raise odd notes", odd_process_app.OddNotesError),
        ("raise odd text", odd_process_app.OddTextError),
        ("raise CancelledError", asyncio.CancelledError),
    ],
)
def test_an_odd_error_fails_its_record_with_its_type(what, kind):
    """Its notes cannot be added to, its text raises, or asyncio has another use for it."""
    assert type(run(what).error) is kind


@pytest.mark.parametrize("what", ["log an error", "log an odd error"])
def test_a_log_record_with_an_error_that_cannot_be_loaded_arrives(what, caplog):
    """An extra value that cannot be sent becomes text."""
    assert run(what) == Done()
    assert [type(record.error) for record in caplog.records if record.message == "odd"] == [str]


def test_a_log_record_that_cannot_be_formatted_does_not_fail_its_record(capfd):
    """As with threads, the logging module writes it to stderr."""
    handler = odd_process_app.handler.with_settings(timeout=30)  # its process inherits this test's stderr
    assert run("log wrong arguments", handler) == Done()
    handler.close()
    assert "--- Logging error ---" in capfd.readouterr().err


def test_a_log_filter_that_fails_affects_no_record(caplog):
    """It runs in the consumer's process, when the log record arrives."""

    def fail(_record: logging.LogRecord) -> bool:
        raise ValueError("odd filter")

    odd_process_app.log.addFilter(fail)
    try:
        assert run("log an error") == Done()
    finally:
        odd_process_app.log.removeFilter(fail)
    assert "a message of a worker process could not be read" in caplog.text


class SlowLog(logging.Handler):
    """A log handler that is slower than a worker process logs."""

    def emit(self, record: logging.LogRecord) -> None:
        json.dumps([record.getMessage()] * 2_000)


def test_a_handler_that_logs_without_end_is_ended_and_affects_no_other_record():
    """The event loop does not read its log records until there are none left."""
    handler, slow = odd_process_app.handler.with_settings(processes=2, timeout=2), SlowLog()
    odd_process_app.log.propagate, odd_process_app.log.handlers = False, [slow]
    try:
        assert isinstance(run("log without end", handler).error, TimeoutError)
    finally:
        handler.close()
        odd_process_app.log.propagate, odd_process_app.log.handlers = True, []


def test_an_outcome_without_an_error_fails_its_record_in_one_line():
    """Its process goes on."""
    before = run("pid")
    outcome = run("return a text as an error")
    assert str(outcome.error) == "the handler returned Failed with a str: its error must be an exception"
    assert run("pid") == before


class OddContext:
    """A Lambda context that processes cannot load, and whose attributes cannot all be read."""

    aws_request_id = "request-1"

    def __init__(self, *, lists: bool) -> None:
        self.lists = lists

    def __reduce__(self) -> Any:
        return int, ("not a number",)

    def __dir__(self) -> list[str]:
        if not self.lists:
            raise ValueError("odd context")
        return ["aws_request_id", "broken", "_private", "get_remaining_time_in_millis"]

    @property
    def broken(self) -> str:
        """Raise an error."""
        raise ValueError("odd attribute")

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that is left."""
        return 30_000


@pytest.mark.parametrize(("lists", "values"), [(True, {"aws_request_id": "request-1"}), (False, {})])
def test_a_lambda_context_that_a_process_cannot_load_keeps_its_text_and_its_numbers(lists, values):
    """Such as one whose class is in ``__main__``."""
    result = odd_process_app.with_context.invoke(make_event(1, 2), OddContext(lists=lists))
    odd_process_app.with_context.close()
    assert result.outcomes == [Done(values)] * 2


# --- What they fork, and close.


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("fork and return", 0),
        ("fork and raise", 1),
        ("fork and exit", 0),
        ("fork and exit with 3", 3),
        ("fork and log", 0),
        ("terminate", -signal.SIGTERM),
    ],
)
def test_a_process_that_a_handler_forks_ends_as_in_every_program(what, code):
    """It neither reports a record, nor runs other ones, nor ignores SIGTERM."""
    assert run(what) == Done(code)


def test_a_handler_that_closes_its_descriptors_affects_no_other_record():
    """Its process is replaced."""
    run("close descriptors")
    assert run("nothing") == Done()


def test_the_processes_that_a_handler_starts_end_with_the_consumer(tmp_path):
    """SIGKILL ends the consumer; its worker process waits for the other one."""
    file = tmp_path / "pid"
    program = (
        "import sys, odd_process_app; from fanfold.testing import make_context, make_event; "
        "odd_process_app.starting(make_event({'file': sys.argv[1]}), make_context(60))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    consumer = subprocess.Popen([sys.executable, "-c", program, str(file)], env=environment)  # noqa: S603
    while not (file.exists() and file.read_text()):
        assert consumer.poll() is None
        time.sleep(0.01)
    consumer.kill()
    consumer.wait()
    while is_running(int(file.read_text())):
        time.sleep(0.01)


def test_a_process_that_was_forked_from_the_consumer_does_not_keep_its_worker_process(tmp_path):
    """SIGKILL ends the consumer; the forked process has copies of its descriptors, and runs on."""
    file = tmp_path / "pids"
    program = (
        "import os, sys, time, odd_process_app; from fanfold.testing import make_context, make_event\n"
        "result = odd_process_app.handler.invoke(make_event({'do': 'pid'}), make_context(60))\n"
        "forked = os.fork()\n"
        "if forked: open(sys.argv[1], 'w').write(f'{result.outcomes[0].value} {forked}.')\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    consumer = subprocess.Popen([sys.executable, "-c", program, str(file)], env=environment)  # noqa: S603
    while not (file.exists() and file.read_text().endswith(".")):
        assert consumer.poll() is None
        time.sleep(0.01)
    worker, forked = (int(pid) for pid in file.read_text()[:-1].split())
    consumer.kill()
    consumer.wait()
    try:
        while is_running(worker):
            time.sleep(0.01)
        assert is_running(forked)
    finally:
        os.kill(forked, signal.SIGKILL)


# --- Starts and ends.


async def test_a_process_that_cannot_be_started_leaves_no_descriptor(monkeypatch):
    """Each record fails in one line, and the next batch tries again."""
    before = descriptors()
    with monkeypatch.context() as context:
        context.setattr(sys, "executable", "/missing/python")
        pool = pool_of()
        assert descriptors() == before
        with pytest.raises(WorkerProcessError, match="no worker process can be started"):
            await asyncio.gather(*calls_of(pool, batch_of(pool), "nothing"))
    assert await asyncio.gather(*calls_of(pool, batch_of(pool), "nothing")) == [None]
    pool.close()
    assert descriptors() == before


def test_a_function_whose_processes_cannot_be_started_during_init_is_imported(monkeypatch):
    """The first batch tries again."""
    processes = Processes(odd_process_app.handler.function, fanfold.Settings(processes=2))
    with monkeypatch.context() as context:
        context.setattr(sys, "executable", "/missing/python")
        processes.start()
    assert processes._started == []


def test_the_other_processes_go_on_if_a_new_one_cannot_enter_its_lifespan(tmp_path, monkeypatch):
    """One process dies, and its replacement cannot connect. The next batch tries again."""
    file = tmp_path / "down"
    monkeypatch.setenv("ODD_FILE", str(file))
    handler = odd_process_app.with_lifespan
    pids: set[object] = set()
    while len(pids) < 2:  # both have started
        pids.update(outcome.value for outcome in handler.invoke(make_event(*[{"do": "pid"}] * 4), None).outcomes)
    file.touch()
    result = handler.invoke(make_event({"do": "die"}, *[{"do": "wait"}] * 8), make_context(30))
    file.unlink()
    assert kinds(result) == [Failed, *[Done] * 8]
    assert run("nothing", handler) == Done()
    handler.close()


def test_processes_that_end_before_they_run_a_record_are_not_started_without_end(monkeypatch):
    """Each record fails in one line, and the next batch tries again."""
    monkeypatch.setattr("fanfold._consumer.process_pool._EARLY_DEATHS", 3)
    with monkeypatch.context() as context:
        context.setattr("fanfold._consumer.process_pool.described", lambda _: b"not pickled")
        result = odd_process_app.with_context.invoke(make_event(1, 2), make_context(30))
    text = "the worker process ended before it ran the handler: exit code 1"
    assert [str(outcome.error) for outcome in result.outcomes] == [text] * 2
    assert kinds(odd_process_app.with_context.invoke(make_event(1, 2), make_context(30))) == [Done] * 2
    odd_process_app.with_context.close()


async def test_records_of_a_process_that_ends_when_no_other_can_be_started_fail(monkeypatch):
    """No process is left that they could wait for."""
    pool = pool_of()
    batch = batch_of(pool)
    await asyncio.gather(*calls_of(pool, batch, *["nothing"] * 9))
    (slot,) = pool._slots
    slot.size = 64
    calls = calls_of(pool, batch, "wait a minute", "nothing")
    await asyncio.sleep(0)
    pool._feed()
    monkeypatch.setattr(sys, "executable", "/missing/python")
    while not slot.begun:  # noqa: ASYNC110 - the process starts the record
        await asyncio.sleep(0.001)
    pool._kill(slot, "odd")
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert str(errors[0]) == "odd"
    assert str(errors[1]).startswith("no worker process can be started: ")
    pool.close()


def test_the_lifespans_of_all_processes_end_together(tmp_path, monkeypatch):
    """Each waits for the end of the other one, within the time that the consumer gives them."""
    monkeypatch.setenv("ODD_FILE", str(tmp_path))
    pids: set[str] = set()
    while len(pids) < 2:  # both have started
        result = odd_process_app.ending_together.invoke(make_event(1, 2), make_context(30))
        pids.update(str(outcome.value) for outcome in result.outcomes)
    odd_process_app.ending_together.close()
    assert {path.name for path in tmp_path.iterdir()} == pids
