"""``processes=``: a ``def`` handler in worker processes, from the decorator to the response."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fanfold
import process_app
from batches import fifo_event, ids, kinds
from fanfold import Done, Failed, NotStarted, Rejected, Retrying
from fanfold._base.operating_system import peak_resident_bytes
from fanfold.errors import WorkerProcessError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.observers import BatchCallbacks
from fanfold.testing import make_context, make_event
from idempotent import opening

NOTHING = {"do": "nothing"}


def do(what: str, value: object = None) -> dict[str, object]:
    """Return a body that asks for something."""
    return {"do": what, "value": value}


def run(handler: Any, *bodies: Any, seconds: float = 30, **changes: Any) -> fanfold.BatchResult:
    """Process a batch as Lambda does."""
    consumer = handler.with_settings(**changes) if changes else handler
    try:
        return consumer.invoke(make_event(*bodies), make_context(seconds))
    finally:
        if changes:
            consumer.close()


@pytest.fixture(autouse=True, scope="module")
def _ends_processes() -> Iterator[None]:
    """End the worker processes of the consumers."""
    yield
    for consumer in (value for value in vars(process_app).values() if isinstance(value, fanfold.Consumer)):
        consumer.close()


# --- What a handler returns or raises.


def test_every_record_runs_in_a_worker_process():
    """None runs in the process of the consumer."""
    result = run(process_app.handler, *[do("pid")] * 20)
    pids = {outcome.value for outcome in result.outcomes if isinstance(outcome, Done)}
    assert len(pids) in {1, 2}
    assert os.getpid() not in pids


def test_values_are_returned_if_something_reads_them():
    """Otherwise they are not sent."""
    result = run(process_app.handler, do("return", [1, {"a": None}]), NOTHING, do("return", ""))
    assert result.outcomes == [Done([1, {"a": None}]), Done(), Done("")]
    assert process_app.handler(make_event(do("return a function")), make_context(10)) == {"batchItemFailures": []}


def test_a_value_that_cannot_be_sent_fails_its_record():
    """The error states it."""
    (outcome,) = run(process_app.handler, do("return a function")).outcomes
    assert isinstance(outcome, Failed)
    assert str(outcome.error).startswith("the handler returned a value that cannot be sent to the consumer:")


def test_an_error_keeps_its_type_its_text_and_its_traceback():
    """The traceback of the process is a note of the error."""
    (outcome,) = run(process_app.handler, do("raise")).outcomes
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is ValueError
    assert str(outcome.error) == "bad order"
    assert 'raise ValueError("bad order")' in outcome.error.__notes__[0]


def test_an_error_that_cannot_be_rebuilt_keeps_its_text():
    """Its constructor takes other arguments than its text."""
    (outcome,) = run(process_app.handler, do("raise unpicklable")).outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, WorkerProcessError)
    assert str(outcome.error).startswith("UnpicklableError: one and two (process_app.py, line")


def test_decisions_of_the_handler_are_outcomes():
    """A retry, a rejection, an exit, and a coroutine that nothing awaits."""
    result = run(process_app.handler, do("retry"), do("reject"), do("exit"), do("return a coroutine"))
    assert kinds(result) == [Retrying, Rejected, Failed, Failed]
    assert result.outcomes[0].after == 7
    assert result.outcomes[1].reason == "not ours"


def test_a_body_that_cannot_be_decoded_is_rejected():
    """The process decodes it."""
    event = make_event(NOTHING, NOTHING)
    event["Records"][0]["body"] = "{"
    assert kinds(process_app.handler.invoke(event, make_context(10))) == [Rejected, Done]


def test_permanent_errors_are_rejected_by_types_and_by_predicates():
    """A predicate that cannot be pickled is that of the handler module."""
    assert kinds(run(process_app.one, do("raise"), reject_on=ValueError)) == [Rejected]
    assert kinds(run(process_app.rejecting, do("raise"), do("die"))) == [Rejected, Failed]


def test_the_context_of_a_handler_is_that_of_its_record():
    """Its receive count, message id, request id and deadline."""
    assert run(process_app.with_context, 1).outcomes == [Done((1, "message-0", make_context().aws_request_id, True))]
    assert run(process_app.of_record, 1).outcomes == [Done("1")]


def test_each_process_enters_the_lifespan_and_leaves_it_when_it_ends(tmp_path, monkeypatch):
    """The consumer does not enter it."""
    ended = tmp_path / "ended"
    monkeypatch.setenv("PROCESS_APP_ENDED", str(ended))
    (outcome,) = run(process_app.with_lifespan, 1).outcomes
    assert isinstance(outcome, Done)
    assert outcome.value[0] == outcome.value[1] != os.getpid()
    process_app.with_lifespan.close()
    assert ended.exists()


def test_a_factory_that_runs_at_the_import_creates_different_handlers():
    """They have the same qualified name."""
    assert run(process_app.second, 1).outcomes == [Done(2)]
    assert run(process_app.first, 1).outcomes == [Done(1)]


def test_the_trace_id_of_the_invocation_goes_along(monkeypatch):
    """It is in the environment of the process."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3")
    assert run(process_app.handler, do("trace")).outcomes == [Done("Root=1-2-3")]


def test_log_records_go_to_the_handlers_of_the_consumer_with_the_id_of_their_message(caplog):
    """With their message formatted, and their extra values."""
    from fanfold._base.log_context import record_keys

    seen: list[Any] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.getMessage(), record.__dict__.get("shop"), dict(record_keys())))

    logging.getLogger("process_app").addHandler(noting := Noting())
    try:
        run(process_app.handler, do("log", "x"))
    finally:
        logging.getLogger("process_app").removeHandler(noting)
    assert seen == [("order x", "x", {"message_id": "message-0"})]
    assert "order x" in caplog.text


def test_loggers_of_powertools_write_in_the_process_of_the_consumer_once_and_with_its_keys(monkeypatch):
    """Their formatter knows the request id there."""
    stream = io.StringIO()
    monkeypatch.setattr(process_app.powertools.registered_handler, "stream", stream)
    process_app.powertools.append_keys(request="id of the request")
    run(process_app.handler, do("log with Powertools", "x"))
    (line,) = stream.getvalue().splitlines()
    document = json.loads(line)
    assert (document["message"], document["shop"], document["request"]) == ("order", "x", "id of the request")


def test_what_a_handler_prints_is_printed_in_whole_lines(capfd):
    """Two processes write to the same descriptor."""
    consumer = process_app.handler.with_settings(timeout=9)  # its processes write where this test reads
    run(consumer, *[do("print", number) for number in range(20)])
    consumer.close()
    assert sorted(capfd.readouterr().out.splitlines()) == sorted(f"printed {number}" for number in range(20))


# --- What cannot be stopped otherwise.


@pytest.mark.parametrize("what", ["stick", "swallow", "ignore", "stop"])
def test_a_record_that_takes_longer_than_its_timeout_is_ended_and_the_others_are_done(what):
    """Code that holds the interpreter lock, ignores every exception, returns after it, or has stopped its process."""
    bodies = [NOTHING] * 5 + [do(what)] + [NOTHING] * 30
    result = run(process_app.handler, *bodies, timeout=0.3)
    assert ids(result) == ["message-5"]
    outcome = result.outcomes[5]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TimeoutError)
    assert str(outcome.error) == "the handler took longer than 0.3 s"


def test_a_process_that_is_stopped_before_it_begins_is_replaced(monkeypatch):
    """Its records run elsewhere."""
    monkeypatch.setattr("fanfold._consumer.process_pool._BEGIN_SECONDS", 0.2)
    consumer = process_app.one.with_settings(timeout=5)
    (outcome,) = consumer.invoke(make_event(do("pid")), make_context(30)).outcomes
    os.kill(outcome.value, signal.SIGSTOP)
    assert kinds(consumer.invoke(make_event(NOTHING), make_context(30))) == [Done]
    consumer.close()


def test_the_finally_blocks_of_a_record_that_is_ended_run(tmp_path):
    """SIGTERM raises an exception in the handler."""
    file = tmp_path / "file"
    assert kinds(run(process_app.one, do("finally", str(file)), timeout=0.2)) == [Failed]
    assert file.read_text() == "cleaned up"


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("die", "exit code 3"),
        ("crash", "signal SIGSEGV"),
        ("read address 0", "signal SIGSEGV"),
        ("leave a child and die", "exit code 4"),
    ],
)
def test_a_process_that_dies_fails_the_record_that_it_ran_and_says_how_it_died(what, how):
    """The other records are done at their first delivery."""
    bodies = [NOTHING] * 5 + [do(what)] + [NOTHING] * 5
    result = run(process_app.handler, *bodies)
    assert ids(result) == ["message-5"]
    assert str(result.outcomes[5].error) == f"the worker process ended while it ran the handler: {how}"


def test_what_runs_at_the_deadline_is_ended_and_what_has_not_started_is_not_started():
    """Nothing is abandoned."""
    consumer = process_app.one.with_settings(deadline_margin=4)
    run(consumer, NOTHING)  # its process is ready
    bodies = [NOTHING, do("stick"), do("sleep", 0.3), NOTHING]
    try:
        assert kinds(run(consumer, *bodies, seconds=8)) == [Done, Failed, NotStarted, NotStarted]
        assert consumer.stats.abandoned_handlers == 0
        assert kinds(run(consumer, NOTHING)) == [Done]
    finally:
        consumer.close()


def test_a_group_of_a_fifo_queue_stops_at_its_failure():
    """The other group goes on."""
    event = fifo_event(("a", NOTHING), ("a", do("die")), ("a", NOTHING), ("b", NOTHING))
    assert ids(process_app.handler.invoke(event, make_context(30))) == ["message-1", "message-2"]


def test_a_keyboard_interrupt_of_a_handler_reaches_the_invocation():
    """As with threads."""
    with pytest.raises(KeyboardInterrupt):
        run(process_app.one, do("interrupt"))


# --- Processes.


def test_a_system_without_process_descriptors_and_anonymous_files_notices_deaths_too(monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.delattr(os, "memfd_create")
    consumer = process_app.handler.with_settings(timeout=0.3)
    assert ids(consumer.invoke(make_event(NOTHING, do("stick"), NOTHING), make_context(20))) == ["message-1"]
    assert ids(consumer.invoke(make_event(NOTHING, do("die"), NOTHING), make_context(20))) == ["message-1"]
    consumer.close()


def test_a_process_ends_with_its_parent_where_the_kernel_sends_no_signal(tmp_path):
    """As on macOS: a thread of the process notices it between two bytecodes."""
    program = (
        "import fcntl, sys\n"
        "del fcntl.F_SETSIG\n"
        "from fanfold._consumer.process_child import _die_with_parent\n"
        "_die_with_parent(int(sys.argv[1]))\n"
        "while True: pass\n"
    )
    reads, writes = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", program, str(reads)], pass_fds=[reads])  # noqa: S603
    os.close(reads)
    os.close(writes)
    assert process.wait(20) == 1


def test_a_process_is_replaced_after_its_number_of_records():
    """Ten records, three for each process."""
    consumer = process_app.one.with_settings(max_tasks_per_process=3)
    result = consumer.invoke(make_event(*[do("pid")] * 10), make_context(30))
    consumer.close()
    pids = [outcome.value for outcome in result.outcomes]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 1]


def test_the_processes_end_with_the_consumer_and_free_their_descriptors():
    """Also after a death."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    consumer = process_app.handler.with_settings(timeout=5)
    result = consumer.invoke(make_event(do("pid"), do("die"), do("pid")), make_context(30))
    consumer.close()
    assert ids(result) == ["message-1"]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for pid in (outcome.value for outcome in result.outcomes if isinstance(outcome, Done)):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_rate_limits_and_tenants_hold_with_processes():
    """Each of their records is sent alone."""
    changes: dict[str, Any] = {"starts_per_second": 1000, "tenant": "do", "tenant_concurrency": 1}
    assert kinds(run(process_app.handler, *[NOTHING] * 10, **changes)) == [Done] * 10


def test_a_message_that_is_done_does_not_run_again_and_one_that_was_not_started_does():
    """Idempotency stays in the process of the consumer. A record that waits for a process has no claim at the end."""
    entries = InMemoryEntries()
    settings: dict[str, Any] = {"idempotency": Idempotency(lambda body: body["key"], open_entries=opening(entries))}
    consumer = process_app.one.with_settings(**settings, deadline_margin=1)
    bodies = [{**NOTHING, "key": 1}, {**do("stick"), "key": 2}, {**do("pid"), "key": 3}]
    try:
        assert kinds(consumer.invoke(make_event(*bodies[:1]), make_context(20))) == [Done]
        assert kinds(consumer.invoke(make_event(*bodies), make_context(5))) == [Done, Failed, NotStarted]
        assert kinds(consumer.invoke(make_event(bodies[0], bodies[2]), make_context(20))) == [Done, Done]
    finally:
        consumer.close()


def test_observers_see_what_processes_return():
    """They are in the process of the consumer."""
    seen: list[Any] = []

    class Seeing:
        def batch_started(self, records: Any, batch: Any) -> BatchCallbacks:
            return BatchCallbacks(batch_ended=lambda ended: seen.extend([*ended.outcomes, ended.peak_memory_bytes]))

    run(process_app.handler, do("return", 1), do("die"), observers=[Seeing()])
    assert [type(outcome) for outcome in seen[:-1]] == [Done, Failed]
    assert seen[0].value == 1
    assert seen[-1] > (peak_resident_bytes() or 0)  # with the memory of the processes
