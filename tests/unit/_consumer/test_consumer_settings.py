"""What the settings of a consumer do to a batch and to the queue it came from."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import anyio
import pytest

import fanfold
from fanfold import (
    Backoff,
    BatchResult,
    Consumer,
    Context,
    Done,
    Failed,
    NotStarted,
    Record,
    Reject,
    Rejected,
    Retry,
    Retrying,
)
from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._ports.queue import Message
from fanfold.errors import TotalFailureError
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import (
    ManualClock,
    deliver,
    make_context,
    make_event,
    make_fair_record,
    make_fifo_record,
    make_record,
)

STEADY = Backoff(base=10, factor=2, cap=60, jitter=0)
BEHIND = NotStarted("an earlier record of its message group is not done")
DEAD = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"


def kinds(result: BatchResult) -> list[type]:
    return [type(outcome) for outcome in result.outcomes]


def ids(result: BatchResult) -> list[str]:
    return [failure["itemIdentifier"] for failure in result.response["batchItemFailures"]]


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
        """Hand what is visible to a consumer and delete what it does not report."""
        received = await self.queue.receive()
        records = [
            make_record(each.body, message_id=each.message_id, receive_count=each.receive_count)
            | {"receiptHandle": each.receipt_handle}
            for each in received
        ]
        result = await handler.with_settings(settler=self.settler).process(make_event(records=records), make_context())
        reported = set(ids(result))
        await self.queue.delete([each.receipt_handle for each in received if each.message_id not in reported])
        return result


class Accepting:
    """A settler that buries the messages named and no others; what it hides is noted."""

    def __init__(self, *accepted: str) -> None:
        self.accepted = set(accepted)
        self.hidden: dict[str, int] = {}
        self.asked: list[str] = []

    async def __call__(self) -> Accepting:
        return self

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Collection[int]:
        self.hidden |= {record.message_id: seconds for record, seconds in changes}
        return []

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Mapping[int, str]:
        self.asked += [record.message_id for record, _ in rejects]
        return {at: "no" for at, (record, _) in enumerate(rejects) if record.message_id not in self.accepted}


class Hanging(Accepting):
    """A settler that never answers."""

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Collection[int]:
        await asyncio.Event().wait()
        return []


# Delays


@pytest.mark.parametrize(("after", "seconds"), [(30, 30), (0.5, 1), (0, 0), (None, 100)])
async def test_a_retry_hides_its_message_for_as_long_as_it_says(after, seconds: float):
    """Without a time it is the queue's visibility timeout."""
    mapped = Mapped()
    await mapped.queue.send([Message("1")])

    @fanfold.consumer
    async def handler(number) -> None:
        raise Retry(after=after)

    assert kinds(await mapped.deliver(handler)) == [Retrying]
    assert mapped.queue.seconds_until_visible() == seconds


async def test_a_failure_is_hidden_the_longer_the_more_often_it_was_received():
    """Ten seconds, twenty, forty, and then the cap."""
    mapped = Mapped()
    await mapped.queue.send([Message("1")])

    @fanfold.consumer(backoff=STEADY)
    async def handler(number) -> None:
        raise ValueError

    waits = []
    for _ in range(4):
        await mapped.deliver(handler)
        waits.append(mapped.queue.seconds_until_visible())
        mapped.clock.advance(waits[-1])
    assert waits == [10, 20, 40, 60]


async def test_without_a_back_off_a_failure_is_left_to_the_visibility_timeout():
    """No settler is asked."""
    mapped = Mapped()
    await mapped.queue.send([Message("1")])

    @fanfold.consumer
    async def handler(number) -> None:
        raise ValueError

    await mapped.deliver(handler)
    assert mapped.queue.seconds_until_visible() == 100


@pytest.mark.parametrize("after", [float("inf"), float("nan")])
async def test_a_retry_after_no_time_at_all_spoils_no_other_record(after: float):
    """Whatever becomes of its delay, the records behind it run."""

    @fanfold.consumer(concurrency=1, settler=Accepting())
    async def handler(number) -> None:
        if number == 0:
            raise Retry(after=after)

    assert ids(await handler.process(make_event(0, 1, 2))) == ["message-0"]


# Rejects


async def test_a_reject_goes_to_the_dead_letter_queue_with_its_reason_and_is_deleted():
    """Body and reason are there, and the message is not here any more."""
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
    """The other one comes back."""
    settler = Accepting("message-1")

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)
    async def handler(number) -> None:
        raise Reject("never")

    result = await handler.process(make_event(0, 1))
    assert result.outcomes == [Rejected("never"), Rejected("never", forwarded=True)]
    assert ids(result) == ["message-0"]


@pytest.mark.parametrize("url", [None, ""])
async def test_without_a_dead_letter_queue_a_reject_comes_back(url):
    """Until the queue's own redrive policy takes it."""
    settler = Accepting("message-0")
    handler = fanfold.consumer(dead_letter_queue_url=url, settler=settler)(lambda body: Rejected("never"))
    assert ids(await handler.process(make_event(0))) == ["message-0"]
    assert settler.asked == []


async def test_the_environment_names_the_dead_letter_queue(monkeypatch: pytest.MonkeyPatch):
    """Unless the setting does, which may also name none."""
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", DEAD)
    handler = fanfold.consumer(settler=Accepting("message-0"))(lambda body: Rejected("never"))
    assert ids(await handler.process(make_event(0))) == []
    assert ids(await handler.with_settings(dead_letter_queue_url="").process(make_event(0))) == ["message-0"]


async def test_no_handler_can_say_that_a_reject_was_forwarded():
    """Only the dead-letter queue can."""
    handler = fanfold.consumer(settler=Accepting())(lambda body: Rejected("never", forwarded=True))
    assert ids(await handler.process(make_event(0))) == ["message-0"]


@pytest.mark.parametrize("reject_on", [LookupError, (TypeError, KeyError), lambda error: "id" in str(error)])
async def test_errors_that_are_permanent_are_rejected(reject_on):
    """By type, by several, or by a predicate; the others fail."""

    @fanfold.consumer(reject_on=reject_on, dead_letter_queue_url=DEAD, settler=Accepting("message-0"))
    async def handler(number) -> None:
        raise KeyError("id") if number == 0 else ValueError("x")

    result = await handler.process(make_event(0, 1))
    assert result.outcomes[0] == Rejected("KeyError: 'id'", forwarded=True)
    assert kinds(result) == [Rejected, Failed]


async def test_a_reason_that_is_no_text_is_forwarded_all_the_same():
    """An error caught and handed on as the reason is told in its words; the others of its call go with it."""
    mapped = Mapped()
    await mapped.queue.send([Message("0"), Message("1")])

    @fanfold.consumer(dead_letter_queue_url=DEAD)
    async def handler(number) -> None:
        raise Reject(ValueError("no such customer") if number else "never")

    await mapped.deliver(handler)
    assert len(mapped.dead) == 2


async def test_rejects_too_large_for_one_call_are_forwarded_in_several():
    """SQS takes one mebibyte in all at once."""
    mapped = Mapped()
    for _ in range(2):
        await mapped.queue.send([Message("x" * 600_000)])

    @fanfold.consumer(dead_letter_queue_url=DEAD)
    async def handler(text: str) -> None:
        raise Reject("too long")

    await mapped.deliver(handler)
    assert (len(mapped.queue), len(mapped.dead)) == (0, 2)


# Time


async def test_a_handler_that_takes_too_long_fails_alone_and_leaves_its_place():
    """The one place there is goes to the next record."""

    @fanfold.consumer(concurrency=1, timeout=0.02)
    async def handler(number) -> None:
        if number == 1:
            await asyncio.Event().wait()

    result = await handler.process(make_event(0, 1, 2, 3))
    assert kinds(result) == [Done, Failed, Done, Done]
    assert isinstance(result.outcomes[1].error, TimeoutError)
    assert "the handler took longer than 0.02 s" in str(result.outcomes[1].error)


async def test_a_timeout_counts_for_each_call():
    """Ten calls may together take longer than one."""
    gate = asyncio.Semaphore(0)

    @fanfold.consumer(concurrency=1, timeout=5)
    async def handler(number) -> None:
        gate.release()
        await gate.acquire()

    assert ids(await handler.process(make_event(*range(10)))) == []


async def test_a_record_that_took_too_long_failed_even_if_its_handler_then_returned():
    """Whether it did its work is not known."""

    @fanfold.consumer(timeout=0.02)
    async def handler(number) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as if nothing had happened"

    [outcome] = (await handler.process(make_event(1))).outcomes
    assert isinstance(outcome.error, TimeoutError)


def test_a_rollback_after_a_timeout_is_not_disturbed_by_the_end_of_the_invocation():
    """It was told once, and is not told again."""
    ended = []

    @fanfold.consumer(timeout=0.02)
    async def handler(number, ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled = asyncio.Event()
            over = ctx.deadline.until((ctx.deadline.cancels_at + ctx.deadline.answers_at) / 2)
            asyncio.get_running_loop().call_later(over - 0.02, cancelled.set)
            await cancelled.wait()
            ended.append(number)

    [outcome] = deliver(handler, 1, seconds=0.8).outcomes
    assert ended == [1]
    assert isinstance(outcome.error, TimeoutError)


async def test_a_timeout_does_not_hit_the_record_after_it():
    """A handler that ends by itself as its time runs out is followed by one that is left alone."""

    @fanfold.consumer(concurrency=1, timeout=0.02)
    async def handler(number) -> None:
        if number % 2:
            return
        asyncio.get_running_loop().call_later(0.02, (over := asyncio.Event()).set)
        await over.wait()

    result = await handler.process(make_event(*range(10)))
    assert [kind for number, kind in enumerate(kinds(result)) if number % 2] == [Done] * 5


async def test_a_failure_by_timeout_is_backed_off():
    """It is a failure like any other."""
    settler = Accepting()

    @fanfold.consumer(timeout=0.02, backoff=STEADY, settler=settler)
    async def handler(number) -> None:
        await asyncio.Event().wait()

    await handler.process(make_event(1))
    assert settler.hidden == {"message-0": 10}


async def test_a_plain_handler_that_takes_too_long_fails_alone():
    """Its thread is left to end by itself."""
    release = threading.Event()

    @fanfold.consumer(concurrency=2, timeout=0.05)
    def handler(number) -> None:
        if number == 0:
            release.wait()

    result = await handler.process(make_event(0, 1, 2))
    release.set()
    assert kinds(result) == [Failed, Done, Done]
    assert isinstance(result.outcomes[0].error, TimeoutError)


async def test_once_every_thread_took_too_long_the_rest_is_not_started():
    """No more threads are started than may run at once; the reason says so."""
    release = threading.Event()

    @fanfold.consumer(concurrency=1, timeout=0.05)
    def handler(number) -> None:
        release.wait()

    result = await handler.process(make_event(0, 1))
    release.set()
    assert kinds(result) == [Failed, NotStarted]
    assert result.outcomes[1] == NotStarted("every place was kept by a thread that took too long")


async def test_a_plain_handler_that_took_too_long_on_the_event_loop_leaves_its_place():
    """What it returned was still to be awaited: no thread is with it any more."""

    async def wait() -> None:
        await asyncio.Event().wait()

    handler = fanfold.consumer(concurrency=1, timeout=0.05)(lambda number: wait() if number == 0 else None)
    assert kinds(await handler.process(make_event(0, 1))) == [Failed, Done]


def test_a_batch_of_which_nothing_succeeded_may_end_in_an_error():
    """Lambda then polls the queue more slowly."""
    handler = fanfold.consumer(raise_on_total_failure=True)(lambda number: 1 / number)
    with pytest.raises(TotalFailureError, match="none of the 2 records of the batch succeeded"):
        deliver(handler, 0, 0)


@pytest.mark.parametrize("bodies", [(0, 1), ()])
def test_a_batch_of_which_something_succeeded_ends_in_no_error(bodies):
    """Nor does an empty one."""
    handler = fanfold.consumer(raise_on_total_failure=True)(lambda number: 1 / number)
    assert len(ids(deliver(handler, *bodies))) == bodies.count(0)


def test_a_forwarded_reject_is_no_total_failure():
    """It was acknowledged."""
    settings = {"raise_on_total_failure": True, "dead_letter_queue_url": DEAD, "settler": Accepting("message-0")}
    handler = fanfold.consumer(**settings)(lambda body: Rejected("never"))
    assert ids(deliver(handler, 0)) == []


async def test_starts_are_spread_over_time():
    """However many places there are: with seven intervals between eight starts the batch takes no less."""
    loop = asyncio.get_running_loop()
    handler = fanfold.consumer(concurrency=10, starts_per_second=100)(lambda number: None)
    began = loop.time()
    assert ids(await handler.process(make_event(*range(8)))) == []
    assert loop.time() - began >= 0.07


def test_what_the_rate_leaves_no_time_for_is_not_started():
    """The first record starts at once, the next one would start after the end."""
    handler = fanfold.consumer(starts_per_second=0.01)(lambda body: None)
    assert kinds(deliver(handler, 1, 2, 3, seconds=2)) == [Done, NotStarted, NotStarted]


async def test_full_memory_lets_records_run_one_by_one():
    """None starts while another runs, and one always runs: the batch ends."""
    running, most = 0, 0

    @fanfold.consumer(concurrency=5)
    async def handler(number) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1

    result = await handler.process(make_event(*range(6)), make_context(memory_limit_in_mb=1))
    assert kinds(result) == [Done] * 6
    assert most == 1


async def test_without_a_guard_full_memory_holds_nothing_back():
    """None means none."""
    barrier = asyncio.Barrier(5)

    @fanfold.consumer(concurrency=5, memory_share=None)
    async def handler(number) -> None:
        await barrier.wait()

    result = await handler.process(make_event(*range(5)), make_context(memory_limit_in_mb=1))
    assert kinds(result) == [Done] * 5


# Lists


async def test_a_handler_of_lists_gets_as_many_bodies_as_it_asks_for():
    """The last list is shorter; returning nothing means that all are done."""
    seen = []

    @fanfold.consumer(chunk_size=3, concurrency=1)
    async def handler(numbers: list[int]) -> None:
        seen.append(numbers)

    assert kinds(await handler.process(make_event(*range(7)))) == [Done] * 7
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


async def test_a_handler_of_lists_may_return_a_value_for_each():
    """A value, an error, or an outcome."""

    @fanfold.consumer(chunk_size=6)
    async def handler(numbers: list) -> list[Any]:
        return [None, 5, error, Retry(after=3), Reject("never"), Retrying(9)]

    error = ValueError("x")
    result = await handler.with_settings(settler=Accepting()).process(make_event(*range(6)))
    assert result.outcomes == [
        Done(),
        Done(5),
        Failed(error),
        Retrying(3, "the handler asked for another delivery"),
        Rejected("never"),
        Retrying(9),
    ]


@pytest.mark.parametrize("returned", [[], [1], [1, 2, 3], {0: 1, 1: 2}, "ab", 5])
async def test_a_handler_of_lists_that_returns_anything_else_failed(returned):
    """Which record ended how is not known."""
    handler = fanfold.consumer(chunk_size=2)(lambda bodies: returned)
    result = await handler.process(make_event(0, 1))
    assert kinds(result) == [Failed, Failed]
    assert "the handler of 2 records returned" in str(result.outcomes[0].error)


async def test_a_handler_of_lists_that_raises_failed_with_all_of_its_list():
    """And with no other."""

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list) -> None:
        if 1 in numbers:
            raise ValueError

    assert ids(await handler.process(make_event(0, 1, 2, 3))) == ["message-0", "message-1"]


async def test_a_body_that_cannot_be_decoded_spoils_only_itself():
    """The others of its list are handed over without it."""
    seen = []

    @fanfold.consumer(chunk_size=3)
    async def handler(numbers: list) -> list[int]:
        seen.append(numbers)
        return numbers

    result = await handler.process(make_event(0, "{", 2))
    assert [result.outcomes[0], result.outcomes[2]] == [Done(0), Done(2)]
    assert result.outcomes[1].reason.startswith("the body is not JSON")
    assert seen == [[0, 2]]


async def test_a_list_of_which_nothing_can_be_decoded_is_not_handed_over():
    """The handler is not called with nothing."""
    called = []
    handler = fanfold.consumer(chunk_size=2)(called.append)
    assert kinds(await handler.process(make_event("{", "["))) == [Rejected, Rejected]
    assert called == []


async def test_a_plain_handler_of_lists_runs_on_threads():
    """Two lists at once."""
    barrier = threading.Barrier(2)

    @fanfold.consumer(chunk_size=2, concurrency=2)
    def handler(numbers: list) -> list[int]:
        barrier.wait(10)
        return [-number for number in numbers]

    assert (await handler.process(make_event(1, 2, 3, 4))).outcomes == [Done(-1), Done(-2), Done(-3), Done(-4)]


async def test_a_handler_of_lists_that_takes_too_long_failed_with_all_of_its_list():
    """The next list is handled."""

    @fanfold.consumer(chunk_size=2, concurrency=1, timeout=0.02)
    async def handler(numbers: list) -> None:
        if 0 in numbers:
            await asyncio.Event().wait()

    assert kinds(await handler.process(make_event(0, 1, 2))) == [Failed, Failed, Done]


async def test_a_handler_of_lists_may_ask_for_the_context():
    """Its record is the first of the list."""
    seen = []

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list, ctx: Context) -> None:
        seen.append(ctx.record.message_id)

    await handler.process(make_event(0, 1, 2))
    assert seen == ["message-0", "message-2"]


# Order


async def test_on_standard_queues_what_was_received_most_often_starts_first():
    """So that what does not fit is what was tried least."""
    seen = []

    @fanfold.consumer(concurrency=1)
    async def handler(number) -> None:
        seen.append(number)

    counts = [1, 5, 2, 5]
    records = [make_record(at, message_id=f"m{at}", receive_count=count) for at, count in enumerate(counts)]
    await handler.process(make_event(records=records))
    assert seen == [1, 3, 2, 0]


async def test_tenants_of_a_fair_queue_are_not_held_to_an_order():
    """Two records of one tenant run at once, and a failure stops nothing."""
    barrier = asyncio.Barrier(3)

    @fanfold.consumer
    async def handler(number) -> None:
        await barrier.wait()
        if number == 0:
            raise ValueError

    records = [make_fair_record(at, tenant="t", message_id=f"m{at}") for at in range(3)]
    assert ids(await handler.process(make_event(records=records))) == ["m0"]


def fifo(groups: str) -> dict:
    """A batch of a FIFO queue: a letter for each record's group; bodies and ids count from 0."""
    return make_event(
        records=[make_fifo_record(at, group=group, message_id=f"m{at}") for at, group in enumerate(groups)]
    )


async def test_a_message_group_is_worked_on_one_record_at_a_time_in_order():
    """While the groups themselves run at once."""
    events = []
    both = asyncio.Barrier(2)

    @fanfold.consumer
    async def handler(number) -> None:
        events.append(f"start {number}")
        await both.wait()
        events.append(f"end {number}")

    assert ids(await handler.process(fifo("abab"))) == []
    assert [event for event in events if event[-1] in "02"] == ["start 0", "end 0", "start 2", "end 2"]
    assert [event for event in events if event[-1] in "13"] == ["start 1", "end 1", "start 3", "end 3"]


async def test_message_groups_share_the_bound():
    """Five groups, two places."""
    running, most = 0, 0

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await handler.process(fifo("abcdeabcde"))
    assert most == 2


@pytest.mark.parametrize("error", [ValueError(), Retry(), Reject("never"), asyncio.CancelledError()])
async def test_a_message_group_stops_at_the_first_record_that_is_not_done(error: BaseException):
    """The rest is not started and comes back behind it; another group goes on."""
    seen = []

    @fanfold.consumer
    async def handler(number) -> None:
        seen.append(number)
        if number == 2:
            raise error

    result = await handler.process(fifo("abaaab"))
    assert ids(result) == ["m2", "m3", "m4"]
    assert result.outcomes[3:5] == [BEHIND, BEHIND]
    assert sorted(seen) == [0, 1, 2, 5]


async def test_what_is_behind_a_failure_is_hidden_for_as_long_as_it():
    """Else it would be there before what has to come first."""
    settler = Accepting()

    @fanfold.consumer(backoff=STEADY, settler=settler)
    async def handler(number) -> None:
        if number == 1:
            raise ValueError

    await handler.process(fifo("aaab"))
    assert settler.hidden == {"m1": 10, "m2": 10}


async def test_what_is_behind_a_retry_is_hidden_for_as_long_as_it():
    """As the handler said of the head."""
    settler = Accepting()

    @fanfold.consumer(settler=settler)
    async def handler(number) -> None:
        raise Retry(after=77)

    await handler.process(fifo("aab"))
    assert settler.hidden == {"m0": 77, "m1": 77, "m2": 77}


async def test_without_a_delay_what_is_behind_is_left_to_the_visibility_timeout():
    """As its head is."""
    settler = Accepting()
    handler = fanfold.consumer(settler=settler)(lambda number: 1 / number)
    assert ids(await handler.process(fifo("aa"))) == ["m0", "m1"]
    assert settler.hidden == {}


async def test_a_reject_that_was_forwarded_counts_as_done_in_its_group():
    """The records behind it run."""
    settler = Accepting("m1")

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)
    async def handler(number) -> None:
        if number == 1:
            raise Reject("never")

    result = await handler.process(fifo("aaa"))
    assert result.outcomes == [Done(), Rejected("never", forwarded=True), Done()]


async def test_a_reject_that_was_not_forwarded_stops_its_group():
    """As any failure does."""

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=Accepting("m0"))
    async def handler(number) -> None:
        if number == 1:
            raise Reject("never")

    result = await handler.process(fifo("aaa"))
    assert result.outcomes == [Done(), Rejected("never"), BEHIND]


async def test_a_message_group_may_be_worked_on_in_lists():
    """A list that is done entirely is followed by the next; one that is not stops the group."""
    seen = []

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list) -> list[Any]:
        seen.append(numbers)
        return [ValueError() if number == 2 else number for number in numbers]

    result = await handler.process(fifo("aaaaaab"))
    assert sorted(seen) == [[0, 1], [2, 3], [6]]
    assert ids(result) == ["m2", "m3", "m4", "m5"]


async def test_a_done_record_behind_a_failure_of_its_list_comes_back():
    """What is acknowledged of a group is a prefix."""
    handler = fanfold.consumer(chunk_size=3)(lambda numbers: [1, ValueError(), 3])
    assert (await handler.process(fifo("aaa"))).outcomes[2] == BEHIND


async def test_a_record_behind_one_that_was_not_committed_comes_back():
    """Though it was committed itself."""

    async def commit(done, batch):
        return {1, 2}

    handler = fanfold.consumer(commit=commit)(lambda number: number)
    result = await handler.process(fifo("aab"))
    assert kinds(result) == [Failed, NotStarted, Done]


def test_a_message_group_whose_time_is_over_comes_back_from_there():
    """What was done before stays done."""

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 1:
            await asyncio.Event().wait()

    result = handler.invoke(fifo("aaa"), make_context(0.4))
    handler.close()
    assert kinds(result) == [Done, Failed, NotStarted]


async def test_a_batch_cancelled_from_outside_leaves_no_settling_behind():
    """Nothing goes on behind the caller's back."""
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


def test_a_settler_that_hangs_does_not_keep_the_answer(caplog: pytest.LogCaptureFixture):
    """What could not be settled comes back by itself."""

    @fanfold.consumer(settler=Hanging())
    async def handler(number) -> None:
        raise Retry(after=5)

    assert ids(deliver(handler, 0, seconds=0.4)) == ["message-0"]
    assert "could not be settled in time" in caplog.text


def test_what_is_about_to_be_dead_lettered_untried_is_warned_about(monkeypatch, caplog):
    """A record that is not started at its last receive is named before the queue dead-letters it; others are not."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "5")
    records = [make_record(number, message_id=f"m-{number}", receive_count=6 - number) for number in range(4)]
    handler = fanfold.consumer(starts_per_second=0.1)(_nothing)
    handler.invoke({"Records": records}, make_context(0.3))
    handler.close()
    assert "1 messages were not started at receive 5, their last" in caplog.text
    assert caplog.text.endswith("first: m-1\n")


def test_what_ran_at_its_last_receive_is_no_reason_for_a_warning(monkeypatch, caplog):
    """It had its chance: its failure is in the log already."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "5")

    @fanfold.consumer
    async def handler(body):
        raise ValueError(body)

    handler.invoke({"Records": [make_record(1, receive_count=5)]}, make_context())
    handler.close()
    assert "dead-letters" not in caplog.text


def test_without_a_known_receive_limit_nothing_is_said_of_it(caplog):
    """A function that is not told the queue's receive limit does not guess it."""
    handler = fanfold.consumer(starts_per_second=0.1)(_nothing)
    handler.invoke({"Records": [make_record(number, receive_count=99) for number in range(3)]}, make_context(0.3))
    handler.close()
    assert "dead-letters" not in caplog.text


async def test_starts_that_waited_for_memory_are_reported(caplog):
    """A batch that was held back by the memory guard says so in the log."""

    @fanfold.consumer(concurrency=5)
    async def handler(body):
        await asyncio.sleep(0)

    await handler.process(make_event(1, 2, 3), make_context(memory_limit_in_mb=1))
    assert "memory was full: starts waited" in caplog.text


async def _nothing(body):
    pass


# What a handler leaves behind


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Lets nothing of it be set, not even its traceback."""

    why: str


async def test_an_error_that_cannot_be_changed_is_as_good_as_another():
    """Also the second of its kind."""

    @fanfold.consumer(reject_on=FrozenError, dead_letter_queue_url=DEAD, settler=Accepting("message-0", "message-1"))
    async def handler(number) -> None:
        raise FrozenError("never")

    assert kinds(await handler.process(make_event(0, 1))) == [Rejected, Rejected]


async def test_an_error_returned_as_the_reason_of_a_rejection_is_told_in_its_words():
    """And what else is rejected goes to the dead-letter queue too."""
    settler = Accepting("message-0", "message-1")

    @fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)
    async def handler(number) -> Rejected | None:
        if number:
            raise Reject("no")
        return Rejected(ValueError("bad"))

    result = await handler.process(make_event(0, 1))
    assert result.outcomes == [Rejected("bad", forwarded=True), Rejected("no", forwarded=True)]


async def test_a_cancel_scope_that_a_handler_leaves_open_costs_its_own_record_at_most():
    """As an async generator does that is not read to its end: the others get workers of their own."""
    left = []

    async def rows():
        with anyio.move_on_after(0.02):
            for number in range(10):
                yield number

    @fanfold.consumer(concurrency=2)
    async def handler(number) -> None:
        if number == 0:
            left.append(rows())
            await anext(left[0])
        await asyncio.sleep(0.01)

    result = await handler.process(make_event(*range(40)))
    failed = [outcome for outcome in result.outcomes if not isinstance(outcome, Done)]
    assert len(failed) <= 1
    with contextlib.suppress(RuntimeError):
        await left[0].aclose()


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_handler_that_cancels_its_own_task_costs_no_other_record_its_start(concurrency: int):
    """Though it takes that back, which an older Python does not hear of."""

    @fanfold.consumer(concurrency=concurrency, starts_per_second=1000)  # which has the worker wait, and hear of it
    async def handler(number) -> None:
        if number == 0:
            task = asyncio.current_task()
            task.cancel()
            task.uncancel()
            return
        await asyncio.sleep(0)

    result = await handler.process(make_event(*range(8)))
    assert kinds(result)[2:] == [Done] * 6
    assert sum(kind is not Done for kind in kinds(result)) <= 1


async def test_in_a_list_of_a_fifo_group_nothing_starts_behind_a_body_that_cannot_be_decoded():
    """It comes back with it; another group is not held up."""
    given = []

    @fanfold.consumer(chunk_size=10)
    async def handler(orders: list[dict]) -> None:
        given.append(orders)

    bodies = [("a", {"n": 0}), ("a", "no JSON"), ("a", {"n": 1}), ("b", {"n": 3})]
    records = [
        make_fifo_record(body, group=group, message_id=f"m-{number}") for number, (group, body) in enumerate(bodies)
    ]
    result = await handler.process(make_event(records=records))
    assert kinds(result) == [Done, Rejected, NotStarted, Done]
    assert given == [[{"n": 0}], [{"n": 3}]]
