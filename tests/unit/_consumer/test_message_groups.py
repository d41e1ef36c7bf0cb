"""The order of a batch and its message groups."""

import asyncio
from typing import Any

import pytest

import fanfold
from batches import Gauge, fifo_event, ids, kinds
from fanfold import Done, Failed, NotStarted, Reject, Rejected, Retry
from fanfold.testing import make_context, make_event, make_fair_record, make_fifo_record, make_record
from settlers import DEAD, STEADY, Accepting
from simple_handlers import notes, raises

BLOCKED_IN_GROUP = NotStarted("an earlier record of its message group is not done")


async def test_on_standard_queues_records_with_the_most_receives_start_first():
    """Records that do not start in time are then those with the fewest receives."""
    seen = []
    handler = fanfold.consumer(concurrency=1)(notes(seen))
    counts = [1, 5, 2, 5]
    records = [make_record(at, message_id=f"m{at}", receive_count=count) for at, count in enumerate(counts)]
    await handler.process(make_event(records=records))
    assert seen == [1, 3, 2, 0]


async def test_records_of_a_fair_queues_tenant_are_not_ordered():
    """Records of one tenant run concurrently, and a failure does not stop the others."""
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


async def test_a_message_group_is_processed_one_record_at_a_time_in_order():
    """Groups run concurrently."""
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


async def test_message_groups_share_the_concurrency():
    """Five groups run with a concurrency of two."""
    gauge = Gauge()
    handler = fanfold.consumer(concurrency=2)(gauge)
    await handler.process(fifo("abcdeabcde"))
    assert gauge.most == 2


@pytest.mark.parametrize("error", [ValueError(), Retry(), Reject("never"), asyncio.CancelledError()])
async def test_a_message_group_stops_at_the_first_record_that_is_not_done(error: BaseException):
    """The rest of the group is not started and is redelivered; another group continues."""
    seen = []

    @fanfold.consumer
    async def handler(number) -> None:
        seen.append(number)
        if number == 2:
            raise error

    result = await handler.process(fifo("abaaab"))
    assert ids(result) == ["m2", "m3", "m4"]
    assert result.outcomes[3:5] == [BLOCKED_IN_GROUP, BLOCKED_IN_GROUP]
    assert sorted(seen) == [0, 1, 2, 5]


async def test_records_behind_a_failure_get_its_delay():
    """Otherwise they would be redelivered before it."""
    settler = Accepting()
    handler = fanfold.consumer(backoff=STEADY, settler=settler)(raises(ValueError, 1))
    await handler.process(fifo("aaab"))
    assert settler.visibility_changes == {"m1": 10, "m2": 10}


async def test_records_behind_a_retry_get_its_delay():
    """The handler's delay applies to the rest of the group."""
    settler = Accepting()
    handler = fanfold.consumer(settler=settler)(raises(Retry(after=77)))
    await handler.process(fifo("aab"))
    assert settler.visibility_changes == {"m0": 77, "m1": 77, "m2": 77}


async def test_without_a_delay_records_behind_a_failure_keep_the_visibility_timeout():
    """So does the failed record."""
    settler = Accepting()
    handler = fanfold.consumer(settler=settler)(lambda number: 1 / number)
    assert ids(await handler.process(fifo("aa"))) == ["m0", "m1"]
    assert settler.visibility_changes == {}


async def test_a_forwarded_reject_counts_as_done_in_its_group():
    """The records behind it run."""
    settler = Accepting("m1")
    handler = fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)(raises(Reject("never"), 1))
    assert (await handler.process(fifo("aaa"))).outcomes == [Done(), Rejected("never", forwarded=True), Done()]


async def test_a_reject_that_is_not_forwarded_stops_its_group():
    """It counts as a failure."""
    handler = fanfold.consumer(dead_letter_queue_url=DEAD, settler=Accepting("m0"))(raises(Reject("never"), 1))
    assert (await handler.process(fifo("aaa"))).outcomes == [Done(), Rejected("never"), BLOCKED_IN_GROUP]


async def test_a_message_group_can_be_processed_in_lists():
    """The next list starts only if all records of a list are done; otherwise the group stops."""
    seen = []

    @fanfold.consumer(chunk_size=2)
    async def handler(numbers: list) -> list[Any]:
        seen.append(numbers)
        return [ValueError() if number == 2 else number for number in numbers]

    result = await handler.process(fifo("aaaaaab"))
    assert sorted(seen) == [[0, 1], [2, 3], [6]]
    assert ids(result) == ["m2", "m3", "m4", "m5"]


async def test_a_done_record_behind_a_failure_of_its_list_is_redelivered():
    """The acknowledged records of a group are a prefix."""
    handler = fanfold.consumer(chunk_size=3)(lambda numbers: [1, ValueError(), 3])
    assert (await handler.process(fifo("aaa"))).outcomes[2] == BLOCKED_IN_GROUP


async def test_a_record_behind_an_uncommitted_one_is_redelivered():
    """Even if it was committed itself."""

    async def commit(done, batch):
        return {1, 2}

    handler = fanfold.consumer(commit=commit)(lambda number: number)
    assert kinds(await handler.process(fifo("aab"))) == [Failed, NotStarted, Done]


def test_at_the_deadline_a_message_group_is_redelivered_from_its_running_record():
    """Earlier records remain done."""

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 1:
            await asyncio.Event().wait()

    result = handler.invoke(fifo("aaa"), make_context(0.4))
    handler.close()
    assert kinds(result) == [Done, Failed, NotStarted]


async def test_in_a_list_of_a_fifo_group_no_record_starts_behind_an_invalid_body():
    """These records are redelivered; another group is not affected."""
    passed = []
    handler = fanfold.consumer(chunk_size=10)(notes(passed))
    event = fifo_event(("a", {"n": 0}), ("a", "not JSON"), ("a", {"n": 1}), ("b", {"n": 3}))
    assert kinds(await handler.process(event)) == [Done, Rejected, NotStarted, Done]
    assert passed == [[{"n": 0}], [{"n": 3}]]
