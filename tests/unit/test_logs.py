"""Log lines include the ids of the record that is being processed."""

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
from aws_lambda_powertools import Logger
from awslambdaric.lambda_runtime_log_utils import JsonFormatter

import fanfold
from batches import swallow_until
from fanfold import Items, Job
from fanfold.errors import ConfigurationError
from fanfold.logs import RecordLogging, record_keys
from fanfold.testing import deliver, make_context, make_event
from harness import Bench


class Written:
    """The output of a log handler, as JSON documents."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(JsonFormatter())

    def take(self) -> list[dict]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines() if line]
        self.stream.seek(0)
        self.stream.truncate()
        return lines


@pytest.fixture
def written() -> Iterator[Written]:
    """Lines of the logger "shop", as Lambda's formatter writes them."""
    written, logger = Written(), logging.getLogger("shop")
    logger.addHandler(written.handler)
    logger.setLevel("INFO")
    yield written
    logger.removeHandler(written.handler)


def powertools(service: str) -> tuple[Logger, Written]:
    written = Written()
    return Logger(service=service, stream=written.stream), written


@pytest.mark.parametrize("kind", ["async", "def"])
def test_eight_concurrent_records_write_lines_with_their_ids(kind: str):
    """This holds on one event loop and on threads; lines before and after the batch have no id."""
    logger, written = powertools(f"shop-{kind}")
    async_barrier, barrier = asyncio.Barrier(8), threading.Barrier(8, timeout=300)

    async def work(number: int) -> None:
        logger.info("began %d", number)
        await async_barrier.wait()
        for _ in range(number):
            await asyncio.sleep(0)  # the records end in another order than they started
        logger.info("ended %d", number)

    def work_in_thread(number: int) -> None:
        logger.info("began %d", number)
        barrier.wait()
        logger.info("ended %d", number)

    function = work if kind == "async" else work_in_thread
    handler = fanfold.consumer(concurrency=8, observers=[RecordLogging(logger)])(function)
    for _ in range(2):
        logger.info("before")
        assert handler(make_event(*range(8)), make_context()) == {"batchItemFailures": []}
        logger.info("after")
        before, *lines, after = written.take()
        assert "message_id" not in before | after
        assert len(lines) == 16
        assert all(line["message_id"] == f"message-{line['message'].split()[1]}" for line in lines)


def test_a_failed_record_leaves_no_keys_for_the_next_one(written: Written):
    """The records run one after another, in the same worker."""
    log = logging.getLogger("shop.orders")

    @fanfold.consumer(concurrency=1, observers=[RecordLogging(logging.getLogger("shop"))])
    async def handler(number: int) -> None:
        log.info("order")
        raise ValueError(number)

    deliver(handler, 1, 2, 3)
    assert [line["message_id"] for line in written.take()] == ["message-0", "message-1", "message-2"]
    assert record_keys() == {}


def test_lines_in_lambdas_json_format_include_the_id(written: Written):
    """Lambda's handler is a handler of the root logger, which is the default."""
    root = logging.getLogger()
    root.addHandler(written.handler)
    try:
        observer = RecordLogging()
    finally:
        root.removeHandler(written.handler)

    @fanfold.consumer(observers=[observer])
    async def handler(number: int) -> None:
        logging.getLogger("shop").info("order")
        assert record_keys() == {"message_id": "message-0"}

    deliver(handler, 1)
    assert [line["message_id"] for line in written.take()] == ["message-0"]


def test_a_key_that_a_log_call_sets_is_not_overwritten(written: Written):
    """Such a log call does not fail the handler."""

    @fanfold.consumer(observers=[RecordLogging(written.handler)])
    async def handler(number: int) -> None:
        logging.getLogger("shop").info("order", extra={"message_id": "custom"})

    assert deliver(handler, 1).response == {"batchItemFailures": []}
    assert [line["message_id"] for line in written.take()] == ["custom"]


def test_a_text_format_may_include_the_key(written: Written):
    """A default applies to lines outside of a record."""
    written.handler.setFormatter(logging.Formatter("%(message_id)s %(message)s", defaults={"message_id": "-"}))

    @fanfold.consumer(observers=[RecordLogging(written.handler)])
    def handler(number: int) -> None:
        logging.getLogger("shop").info("order")

    deliver(handler, 1)
    logging.getLogger("shop").info("done")
    assert written.stream.getvalue().splitlines() == ["message-0 order", "- done"]


def test_a_handler_of_lists_has_the_ids_of_all_its_records(written: Written):
    """A line may concern any of them."""

    @fanfold.consumer(chunk_size=2, observers=[RecordLogging(written.handler)])
    async def handler(numbers: list[int]) -> None:
        logging.getLogger("shop").info("orders")

    deliver(handler, 1, 2)
    assert [line["message_ids"] for line in written.take()] == [["message-0", "message-1"]]


def test_an_abandoned_handler_keeps_its_id_in_log_lines(written: Written):
    """Lines after the batch response have the id, too, so that you can find its side effects."""
    release, ended = asyncio.Event(), threading.Event()

    @fanfold.consumer(observers=[RecordLogging(written.handler)])
    async def handler(number: int) -> None:
        if number == 2:
            release.set()
        await swallow_until(release)
        logging.getLogger("shop").info("order %d", number)
        if number == 1:
            ended.set()

    handler(make_event(1), make_context(seconds=0.2))
    handler(make_event(2), make_context())
    assert ended.wait(300)
    handler.close()
    assert [line["message_id"] for line in written.take()] == ["message-0"] * 2
    assert record_keys() == {}


@pytest.mark.parametrize("per_message", [1, 3])
async def test_lines_of_a_segment_handler_include_run_and_segment(per_message: int, written: Written):
    """Each segment has its ids, even if several segments share a message."""
    job = Job("names", concurrency=4, segments_per_message=per_message)
    job.source(lambda params: Items(range(6)))
    job.fold(len)

    @job.segment
    async def work(rows, ctx):
        async for row in rows:
            await asyncio.sleep(0)
            logging.getLogger("shop").info("row %d", row)

    bench = Bench(job)
    bench.job.segment_handler.add_observer(RecordLogging(written.handler))
    await bench.job.start(bench.backend, {}, "run-7")
    await bench.settle()
    lines = written.take()
    assert sorted(line["message"] for line in lines) == [f"row {number}" for number in range(6)]
    assert all(line["run"] == "run-7" and line["message"] == f"row {line['segment']}" for line in lines)
    assert len({line["message_id"] for line in lines}) == 6 // per_message


@pytest.mark.parametrize("wrong", ["shop", logging.getLogger("logger.without.handler")])
def test_an_argument_that_writes_no_lines_is_refused_immediately(wrong, monkeypatch: pytest.MonkeyPatch):
    """It is not a logger, or it has no log handler yet."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(ConfigurationError, match="RecordLogging"):
        RecordLogging(wrong)
