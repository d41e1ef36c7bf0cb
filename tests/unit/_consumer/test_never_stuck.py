"""An execution environment recovers from whatever a handler leaves running."""

import asyncio
import threading

import fanfold
from batches import ids, kinds
from fanfold import Done, Failed
from fanfold.powertools import AsyncBatchProcessor, EventType, async_process_partial_response
from fanfold.testing import make_context, make_event


def test_hanging_calls_on_the_default_executor_do_not_fail_later_batches():
    """Its few threads would be full for ever; the calls that hang are counted, and later batches get fresh threads."""
    release = threading.Event()

    @fanfold.consumer(concurrency=100, timeout=0.5)
    async def handler(name: str) -> None:
        await asyncio.to_thread(release.wait if name == "hangs" else int)

    try:
        assert len(ids(handler(make_event(*["hangs"] * 40), make_context(5)))) == 40
        assert handler.stats.abandoned_handlers > 0
        for _ in range(2):
            assert ids(handler(make_event(*["harmless"] * 5), make_context(5))) == []
    finally:
        release.set()
        handler.close()


def test_a_handler_that_calls_its_own_consumer_fails_with_the_reason():
    """It would wait for an event loop that waits for it; the other records are not affected."""

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number == 1:
            handler(make_event(7), make_context(5))

    result = handler.invoke(make_event(0, 1, 2), make_context(5))
    assert kinds(result) == [Done, Failed, Done]
    assert "calls the consumer that is running it" in str(result.outcomes[1].error)
    handler.close()


def test_a_def_handler_that_calls_its_own_consumer_fails_with_the_reason():
    """On a thread it would hold its place while it waits for one."""

    @fanfold.consumer(concurrency=1)
    def handler(number) -> None:
        if number == 1:
            handler(make_event(7), make_context(5))

    result = handler.invoke(make_event(0, 1, 2), make_context(5))
    assert kinds(result) == [Done, Failed, Done]
    handler.close()


def test_a_handler_may_call_another_consumer():
    """It has a separate event loop."""

    @fanfold.consumer
    async def inner(number) -> None: ...

    @fanfold.consumer
    def outer(number) -> None:
        assert ids(inner(make_event(number), make_context(5))) == []

    assert kinds(outer.invoke(make_event(0, 1), make_context(5))) == [Done, Done]
    outer.close()
    inner.close()


def test_a_drop_in_inside_a_drop_in_fails_its_record_with_the_reason(caplog):
    """All processors of a process share one event loop."""

    async def inner(record) -> None: ...

    async def outer(record) -> None:
        if record.body == "nested":
            processor = AsyncBatchProcessor(EventType.SQS)
            async_process_partial_response(make_event(7), inner, processor, make_context(5))

    processor = AsyncBatchProcessor(EventType.SQS)
    response = async_process_partial_response(make_event("a", "nested", "b"), outer, processor, make_context(5))
    assert ids(response) == ["message-1"]
    assert "calls the consumer that is running it" in str(processor.exceptions[0][1])
