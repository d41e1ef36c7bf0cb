"""Delays on the source queue, and rejected messages in the dead-letter queue."""

import asyncio
import json
from collections.abc import Sequence

import pytest

import fanfold
from batches import ids, kinds
from fanfold import BatchResult, Consumer, Failed, Record, Reject, Rejected, Retry, Retrying
from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._ports.queue import Message, Refusal
from fanfold._replay.mapping import Returned
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import ManualClock, deliver, make_context, make_event
from mapped import delete, event_of
from settlers import DEAD, STEADY, Accepting
from simple_handlers import raises


class Mapped:
    """A queue, its dead-letter queue, and deliveries as Lambda's event source mapping makes them."""

    def __init__(self, *, max_receive_count: int | None = None) -> None:
        self.clock = ManualClock()
        self.dead = InMemoryQueue(clock=self.clock)
        self.queue = InMemoryQueue(
            visibility_timeout=100, clock=self.clock, max_receive_count=max_receive_count, dead_letter_queue=self.dead
        )
        self.settler = InMemorySettler(self.queue, self.dead)

    async def deliver(self, handler: Consumer) -> BatchResult:
        """Deliver the visible messages to a consumer, and delete those that it does not report."""
        received = await self.queue.receive()
        result = await handler.with_settings(settler=self.settler).process(event_of(received), make_context())
        await delete(self.queue, received, Returned(json.dumps(result.response)))
        return result


class Hanging(Accepting):
    """A settler that never responds."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        await asyncio.Event().wait()
        return []


# Delays


@pytest.mark.parametrize(("after", "seconds"), [(30, 30), (0.5, 1), (0, 0), (None, 100)])
async def test_a_retry_sets_the_visibility_timeout_of_its_message(after, seconds: float):
    """Without a time, the queue's visibility timeout applies."""
    mapped = Mapped()
    await mapped.queue.send([Message("1")])
    handler = fanfold.consumer(raises(Retry(after=after)))
    assert kinds(await mapped.deliver(handler)) == [Retrying]
    assert mapped.queue.seconds_until_visible() == seconds


async def test_the_delay_of_a_failure_grows_with_its_receive_count():
    """The delays are 10, 20, and 40 seconds, and then the cap."""
    mapped = Mapped()
    await mapped.queue.send([Message("1")])
    handler = fanfold.consumer(backoff=STEADY)(raises(ValueError))
    delays = []
    for _ in range(4):
        await mapped.deliver(handler)
        delays.append(mapped.queue.seconds_until_visible())
        mapped.clock.advance(delays[-1])
    assert delays == [10, 20, 40, 60]


async def test_without_backoff_a_failure_keeps_the_visibility_timeout():
    """No settler is called."""
    mapped = Mapped()
    await mapped.queue.send([Message("1")])
    handler = fanfold.consumer(raises(ValueError))
    await mapped.deliver(handler)
    assert mapped.queue.seconds_until_visible() == 100


@pytest.mark.parametrize("after", [float("inf"), float("nan")])
async def test_a_retry_after_an_invalid_time_does_not_affect_other_records(after: float):
    """The records behind it run."""

    @fanfold.consumer(concurrency=1, settler=Accepting())
    async def handler(number) -> None:
        if number == 0:
            raise Retry(after=after)

    assert ids(await handler.process(make_event(0, 1, 2))) == ["message-0"]


# Rejects


async def test_a_reject_goes_to_the_dead_letter_queue_with_its_reason_and_is_deleted():
    """The dead letter has the body and the reason, and the source queue is empty."""
    mapped = Mapped()
    await mapped.queue.send([Message("order 7")])

    @fanfold.consumer(dead_letter_queue_url=DEAD)
    async def handler(order: str) -> None:
        raise Reject("no such customer")

    result = await mapped.deliver(handler)
    [dead] = await mapped.dead.receive()
    assert result.outcomes == [Rejected("no such customer", forwarded=True)]
    assert (dead.body, len(mapped.queue)) == ("order 7", 0)
    assert '"reason": "no such customer"' in dead.attributes[ATTRIBUTE]


async def test_a_reject_is_acknowledged_only_if_the_dead_letter_queue_accepted_it():
    """The other one is redelivered."""
    settler = Accepting("message-1")
    handler = fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)(raises(Reject("never")))
    result = await handler.process(make_event(0, 1))
    assert result.outcomes == [Rejected("never"), Rejected("never", forwarded=True)]
    assert ids(result) == ["message-0"]


@pytest.mark.parametrize("url", [None, ""])
async def test_without_a_dead_letter_queue_a_reject_is_redelivered(url):
    """The redrive policy of the source queue moves it eventually."""
    settler = Accepting("message-0")
    handler = fanfold.consumer(dead_letter_queue_url=url, settler=settler)(lambda body: Rejected("never"))
    assert ids(await handler.process(make_event(0))) == ["message-0"]
    assert settler.requested == []


async def test_the_environment_sets_the_dead_letter_queue(monkeypatch: pytest.MonkeyPatch):
    """The setting overrides it; an empty setting means no dead-letter queue."""
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", DEAD)
    handler = fanfold.consumer(settler=Accepting("message-0"))(lambda body: Rejected("never"))
    assert ids(await handler.process(make_event(0))) == []
    assert ids(await handler.with_settings(dead_letter_queue_url="").process(make_event(0))) == ["message-0"]


async def test_a_handler_cannot_claim_that_a_reject_was_forwarded():
    """Only a message that the dead-letter queue accepted is acknowledged."""
    handler = fanfold.consumer(settler=Accepting())(lambda body: Rejected("never", forwarded=True))
    assert ids(await handler.process(make_event(0))) == ["message-0"]


@pytest.mark.parametrize("reject_on", [LookupError, (TypeError, KeyError), lambda error: "id" in str(error)])
async def test_permanent_errors_are_rejected(reject_on):
    """``reject_on`` is a type, a tuple, or a predicate; other errors are failures."""

    @fanfold.consumer(reject_on=reject_on, dead_letter_queue_url=DEAD, settler=Accepting("message-0"))
    async def handler(number) -> None:
        raise KeyError("id") if number == 0 else ValueError("x")

    result = await handler.process(make_event(0, 1))
    assert result.outcomes[0] == Rejected("KeyError: 'id'", forwarded=True)
    assert kinds(result) == [Rejected, Failed]


async def test_a_reason_that_is_not_text_is_forwarded():
    """An error used as the reason is converted to text, and does not affect other messages of the call."""
    mapped = Mapped()
    await mapped.queue.send([Message("0"), Message("1")])

    @fanfold.consumer(dead_letter_queue_url=DEAD)
    async def handler(number) -> None:
        raise Reject(ValueError("no such customer") if number else "never")

    await mapped.deliver(handler)
    assert len(mapped.dead) == 2


async def test_rejects_too_large_for_one_call_are_sent_in_several():
    """SQS accepts 1 MiB per call."""
    mapped = Mapped()
    for _ in range(2):
        await mapped.queue.send([Message("x" * 600_000)])

    @fanfold.consumer(dead_letter_queue_url=DEAD)
    async def handler(text: str) -> None:
        raise Reject("too long")

    await mapped.deliver(handler)
    assert (len(mapped.queue), len(mapped.dead)) == (0, 2)


async def test_cancelling_a_batch_cancels_its_settling():
    """No task continues to run."""
    started = asyncio.Event()

    @fanfold.consumer(concurrency=1, settler=Hanging())
    async def handler(number) -> None:
        if number == 0:
            raise Retry(after=5)
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(handler.process(make_event(0, 1)))
    before = asyncio.all_tasks() - {task}
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_a_settler_that_hangs_does_not_delay_the_response(caplog: pytest.LogCaptureFixture):
    """Messages that are not settled are redelivered after their visibility timeout."""
    handler = fanfold.consumer(settler=Hanging())(raises(Retry(after=5)))
    assert ids(deliver(handler, 0, seconds=0.4)) == ["message-0"]
    assert "could not be settled in time" in caplog.text
