"""Cases in which other consumers lose messages, repeat them, or overload, and what fanfold does in the same case.

Each test passes the same hostile batch to an alternative, if it is installed, and to fanfold. The assertions about the
alternative describe its observed behavior, so that a claim does not outlive its next release.
"""

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

import batches
import fanfold
from batches import Gauge, ids
from fanfold import Backoff, Done, Failed, NotStarted, Record, Rejected
from fanfold.testing import deliver, make_context, make_event, make_record
from settlers import RecordingSettler
from simple_handlers import raises


class Step(BaseModel):
    step: int


def grouped(*groups: str, **more: str) -> dict[str, Any]:
    """Return a batch of one step for each message group named."""
    return batches.grouped(*groups, body=lambda number: {"type": "step", "step": number}, **more)


@pytest.fixture
def powertools(monkeypatch: pytest.MonkeyPatch):
    """Set up Powertools' batch module as in Lambda, on a separate event loop."""
    batch = pytest.importorskip("aws_lambda_powertools.utilities.batch", reason="Powertools is not installed")
    # Lambda sets this variable, which makes Powertools keep its event loop between batches.
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield batch
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def fastsqs():
    """Create an app of the package ``fastsqs``; close the event loop that it leaves open at the end."""
    module = pytest.importorskip("fastsqs", reason="fastsqs is not installed")
    loop = asyncio.new_event_loop()
    app = module.FastSQS(max_concurrent_messages=2)
    app._loops.loop = loop
    yield app
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.uncounted
def test_powertools_starts_a_whole_batch_concurrently_and_fanfold_respects_its_limit(powertools):
    """An execution environment with 1,024 file descriptors cannot support ten thousand records in flight."""
    theirs, ours = Gauge(), Gauge()
    event = make_event(*range(10_000))
    processor = powertools.AsyncBatchProcessor(event_type=powertools.EventType.SQS)

    async def record_handler(record) -> None:
        await theirs(record)

    handler = fanfold.consumer(concurrency=100)(ours)
    response = powertools.async_process_partial_response(event, record_handler, processor)
    assert (ids(response), theirs.most) == ([], 10_000)

    assert (ids(handler(event, make_context())), ours.most) == ([], 100)
    handler.close()


def test_one_cancelled_error_fails_a_batch_of_powertools_and_one_record_of_fanfold(powertools):
    """Records that succeeded alongside it are not processed again."""
    processor = powertools.AsyncBatchProcessor(event_type=powertools.EventType.SQS)
    done = []

    async def record_handler(record) -> None:
        if record.body == "1":
            raise asyncio.CancelledError
        done.append(record.body)

    handler = fanfold.consumer(raises(asyncio.CancelledError, 1))
    with pytest.raises(asyncio.CancelledError):
        powertools.async_process_partial_response(make_event(0, 1, 2), record_handler, processor)
    assert done == ["0", "2"]  # processed, and redelivered

    assert ids(deliver(handler, 0, 1, 2).response) == ["message-1"]


def test_orphans_of_a_cancelled_batch_reach_powertools_next_response_and_never_fanfolds(powertools):
    """An id that is not in the batch makes Lambda redeliver the whole batch."""
    processor = powertools.AsyncBatchProcessor(event_type=powertools.EventType.SQS)
    orphan = make_event(records=[make_record("orphan", message_id="of-the-first-batch"), make_record("cancelled")])
    gates: list[asyncio.Event] = []

    async def work(body: str) -> None:
        if body == "cancelled":
            raise asyncio.CancelledError
        if body == "orphan":
            gates.append(asyncio.Event())
            await gates[-1].wait()
            raise ValueError("too late")
        for gate in gates:
            gate.set()
        for _ in range(5):
            await asyncio.sleep(0)

    async def record_handler(record) -> None:
        await work(record.body)

    @fanfold.consumer
    async def handler(body: str) -> None:
        await work(body)

    with pytest.raises(asyncio.CancelledError):
        powertools.async_process_partial_response(orphan, record_handler, processor)
    second = make_event(records=[make_record("fine", message_id=f"second-{number}") for number in range(2)])
    assert ids(powertools.async_process_partial_response(second, record_handler, processor)) == ["of-the-first-batch"]

    gates.clear()
    assert ids(handler(orphan, make_context(0.5))) == ["of-the-first-batch", "message-0"]
    assert ids(handler(second, make_context())) == []
    handler.close()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_async_handler_is_lost_by_powertools_batch_processor_and_run_by_fanfold(powertools):
    """With Powertools, the response reports success and the messages are lost; fanfold accepts both handler kinds."""
    processor = powertools.BatchProcessor(event_type=powertools.EventType.SQS)
    theirs, ours = [], []

    async def record_handler(record) -> None:
        theirs.append(record.body)

    @fanfold.consumer
    async def handler(body: str) -> None:
        ours.append(body)

    event = make_event("a", "b")
    assert ids(powertools.process_partial_response(event, record_handler, processor)) == []
    assert theirs == []

    assert ids(deliver(handler, "a", "b").response) == []
    assert sorted(ours) == ["a", "b"]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_await_is_success_to_powertools_and_a_failure_to_fanfold(powertools):
    """With Powertools, messages are deleted although nothing was shipped; fanfold reports them and logs the reason."""
    processor = powertools.AsyncBatchProcessor(powertools.EventType.SQS)
    shipped = []

    async def ship(order: str) -> None:
        shipped.append(order)

    async def record_handler(record):
        return ship(record.body)

    @fanfold.consumer
    async def handler(order: str):
        return ship(order)

    assert ids(powertools.async_process_partial_response(make_event("a", "b"), record_handler, processor)) == []
    assert ids(deliver(handler, "a", "b").response) == ["message-0", "message-1"]
    assert shipped == []


def test_a_def_handler_is_reported_failed_by_powertools_async_processor_and_done_by_fanfold(powertools):
    """With Powertools, its side effects are repeated; fanfold runs it once, on a thread."""
    processor = powertools.AsyncBatchProcessor(powertools.EventType.SQS, raise_on_entire_batch_failure=False)
    theirs, ours = [], []

    def record_handler(record) -> None:
        theirs.append(record.body)

    @fanfold.consumer
    def handler(body: str) -> None:
        ours.append(body)

    response = powertools.async_process_partial_response(make_event("a", "b"), record_handler, processor)
    assert (theirs, ids(response)) == (["a", "b"], ["message-0", "message-1"])

    assert ids(deliver(handler, "a", "b").response) == []
    assert sorted(ours) == ["a", "b"]


def test_two_poison_records_fail_a_fifo_batch_of_powertools_and_two_records_of_fanfold(powertools):
    """Groups without a poison record continue."""
    models = pytest.importorskip("aws_lambda_powertools.utilities.parser.models", reason="the parser is not installed")
    from pydantic import Json, ValidationError

    class StepRecord(models.SqsRecordModel):
        body: Json[Step]

    event = grouped("a", "a", "b", "c")
    event["Records"][0]["body"] = event["Records"][1]["body"] = '{"step": "poison"}'
    processor = powertools.SqsFifoPartialProcessor(model=StepRecord, skip_group_on_error=True)
    done = []

    @fanfold.consumer
    async def handler(step: Step) -> None:
        done.append(step.step)

    with pytest.raises(ValidationError):
        powertools.process_partial_response(event, lambda record: None, processor)

    result = handler.invoke(event, make_context())
    handler.close()
    assert [type(outcome) for outcome in result.outcomes] == [Rejected, NotStarted, Done, Done]
    assert ids(result.response) == ["message-0", "message-1"]
    assert sorted(done) == [2, 3]


@pytest.mark.uncounted
def test_when_ten_thousand_fail_powertools_writes_megabytes_and_fanfold_one_line(
    powertools, caplog: pytest.LogCaptureFixture
):
    """An error text counts towards Lambda's limit of 6 MB, and operators have to read it."""
    from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

    event = make_event(*range(10_000))
    processor = powertools.AsyncBatchProcessor(event_type=powertools.EventType.SQS)

    async def record_handler(record) -> None:
        raise ValueError(record.body)

    @fanfold.consumer(raise_on_total_failure=True)
    async def handler(number) -> None:
        raise ValueError(number)

    with pytest.raises(BatchProcessingError) as error:
        powertools.async_process_partial_response(event, record_handler, processor)
    assert len(str(error.value)) > 3_000_000

    with pytest.raises(fanfold.errors.TotalFailureError) as ours:
        handler(event, make_context())
    handler.close()
    assert str(ours.value) == "none of the 10000 records of the batch succeeded"
    assert len(caplog.text) < 4_000


def test_a_cancelled_error_is_a_success_to_fastsqs_and_a_failure_to_fanfold(fastsqs):
    """A message whose handler was cancelled is not done, so deleting it loses it."""

    @fastsqs.default()
    async def default(payload, ctx) -> None:
        if payload["step"] == 1:
            raise asyncio.CancelledError

    @fanfold.consumer
    async def handler(payload: dict) -> None:
        if payload["step"] == 1:
            raise asyncio.CancelledError

    steps = [{"type": "step", "step": number} for number in range(3)]
    assert ids(fastsqs.handler(make_event(*steps), make_context())) == []

    assert ids(deliver(handler, *steps).response) == ["message-1"]


def test_a_cancelled_error_loses_the_rest_of_its_fifo_group_in_fastsqs_and_nothing_in_fanfold(fastsqs):
    """The records behind it in its group have not even run."""
    theirs, ours = [], []

    @fastsqs.default()
    async def default(payload, ctx) -> None:
        if payload["step"] == 0:
            raise asyncio.CancelledError
        theirs.append(payload["step"])

    @fanfold.consumer
    async def handler(payload: dict) -> None:
        if payload["step"] == 0:
            raise asyncio.CancelledError
        ours.append(payload["step"])

    event = grouped("a", "a", "b")
    assert ids(fastsqs.handler(event, make_context())) == []
    assert theirs == [2]  # 0 and 1 are deleted without having been processed

    result = handler.invoke(event, make_context())
    handler.close()
    assert [type(outcome) for outcome in result.outcomes] == [Failed, NotStarted, Done]
    assert ids(result.response) == ["message-0", "message-1"]
    assert ours == [2]


def test_fifo_groups_ignore_the_limit_of_fastsqs_and_keep_that_of_fanfold(fastsqs):
    """The limit of fanfold holds for every kind of queue."""
    theirs, ours = Gauge(), Gauge()

    @fastsqs.default()
    async def default(payload, ctx) -> None:
        await theirs(payload)

    handler = fanfold.consumer(concurrency=2)(ours)
    event = grouped("a", "b", "c", "d", "e")
    fastsqs.handler(event, make_context())
    assert theirs.most == 5  # with max_concurrent_messages=2

    handler(event, make_context())
    handler.close()
    assert ours.most == 2


def test_a_message_group_on_a_standard_queue_is_a_tenant_without_an_order():
    """If FIFO were inferred from MessageGroupId, one failure on a fair queue would stop the tenant's other messages."""

    @fanfold.consumer(concurrency=1)
    async def handler(payload: dict) -> None:
        if payload["step"] == 0:
            raise ValueError

    event = grouped("tenant", "tenant", "tenant", queue_arn="arn:aws:sqs:eu-west-1:123456789012:orders")
    assert ids(handler(event, make_context())) == ["message-0"]
    handler.close()


@pytest.mark.parametrize("body", ["", "{", "\x00", '{"step": "x"}', "[" * 100_000, "NaN,"])
def test_a_message_that_cannot_be_parsed_is_not_deleted(body: str):
    """It is redelivered until the redrive policy moves it to the dead-letter queue; some consumers delete it."""

    @fanfold.consumer
    async def handler(step: Step) -> None:
        assert step.step == 1

    result = deliver(handler, {"step": 1}, body)
    assert ids(result.response) == ["message-1"]
    assert isinstance(result.outcomes[1], Rejected)


def test_a_digit_in_a_queue_name_is_accepted():
    """A consumer that parses ARNs with a pattern without digits fails every record of such a queue."""
    handler = fanfold.consumer(lambda body: None)
    arns = ["arn:aws:sqs:eu-west-1:123456789012:orders-2", "arn:aws:sqs:us-gov-west-1:123456789012:2_orders-v2.fifo"]
    for arn in arns:
        event = make_event(records=[make_record(1, queue_arn=arn, attributes={"MessageGroupId": "a"})])
        assert ids(handler(event, make_context())) == []
    handler.close()


def test_visibility_is_changed_ten_messages_at_a_time():
    """SQS accepts ten per call and refuses a call with more."""
    settler = RecordingSettler()
    handler = fanfold.consumer(concurrency=25, backoff=Backoff(), settler=settler)(raises(ValueError))
    assert len(ids(deliver(handler, *range(25)).response)) == 25
    sizes = [len(call) for call in settler.visibility_changes]
    assert (max(sizes), sum(sizes), settler.dead_letters) == (10, 25, [])


def test_a_handler_that_forgets_its_return_value_still_reports_its_failures():
    """An empty response would delete the batch, so the consumer creates the response, not the handler."""

    @fanfold.consumer
    async def handler(record: Record):
        if record.body == "1":
            raise ValueError
        json.loads(record.body)

    assert deliver(handler, 0, 1).response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
