"""The order of a batch, and its message groups."""

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


async def test_on_standard_queues_what_was_received_most_often_starts_first():
    """So that what does not fit is what was tried least."""
    seen = []
    handler = fanfold.consumer(concurrency=1)(notes(seen))
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
    gauge = Gauge()
    handler = fanfold.consumer(concurrency=2)(gauge)
    await handler.process(fifo("abcdeabcde"))
    assert gauge.most == 2


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
    assert result.outcomes[3:5] == [BLOCKED_IN_GROUP, BLOCKED_IN_GROUP]
    assert sorted(seen) == [0, 1, 2, 5]


async def test_what_is_behind_a_failure_is_hidden_for_as_long_as_it():
    """Else it would be there before what has to come first."""
    settler = Accepting()
    handler = fanfold.consumer(backoff=STEADY, settler=settler)(raises(ValueError, 1))
    await handler.process(fifo("aaab"))
    assert settler.visibility_changes == {"m1": 10, "m2": 10}


async def test_what_is_behind_a_retry_is_hidden_for_as_long_as_it():
    """As the handler said of the head."""
    settler = Accepting()
    handler = fanfold.consumer(settler=settler)(raises(Retry(after=77)))
    await handler.process(fifo("aab"))
    assert settler.visibility_changes == {"m0": 77, "m1": 77, "m2": 77}


async def test_without_a_delay_what_is_behind_is_left_to_the_visibility_timeout():
    """As its head is."""
    settler = Accepting()
    handler = fanfold.consumer(settler=settler)(lambda number: 1 / number)
    assert ids(await handler.process(fifo("aa"))) == ["m0", "m1"]
    assert settler.visibility_changes == {}


async def test_a_reject_that_was_forwarded_counts_as_done_in_its_group():
    """The records behind it run."""
    settler = Accepting("m1")
    handler = fanfold.consumer(dead_letter_queue_url=DEAD, settler=settler)(raises(Reject("never"), 1))
    assert (await handler.process(fifo("aaa"))).outcomes == [Done(), Rejected("never", forwarded=True), Done()]


async def test_a_reject_that_was_not_forwarded_stops_its_group():
    """As any failure does."""
    handler = fanfold.consumer(dead_letter_queue_url=DEAD, settler=Accepting("m0"))(raises(Reject("never"), 1))
    assert (await handler.process(fifo("aaa"))).outcomes == [Done(), Rejected("never"), BLOCKED_IN_GROUP]


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
    assert (await handler.process(fifo("aaa"))).outcomes[2] == BLOCKED_IN_GROUP


async def test_a_record_behind_one_that_was_not_committed_comes_back():
    """Though it was committed itself."""

    async def commit(done, batch):
        return {1, 2}

    handler = fanfold.consumer(commit=commit)(lambda number: number)
    assert kinds(await handler.process(fifo("aab"))) == [Failed, NotStarted, Done]


def test_a_message_group_whose_time_is_over_comes_back_from_there():
    """What was done before stays done."""

    @fanfold.consumer
    async def handler(number) -> None:
        if number == 1:
            await asyncio.Event().wait()

    result = handler.invoke(fifo("aaa"), make_context(0.4))
    handler.close()
    assert kinds(result) == [Done, Failed, NotStarted]


async def test_in_a_list_of_a_fifo_group_nothing_starts_behind_a_body_that_cannot_be_decoded():
    """It comes back with it; another group is not held up."""
    given = []
    handler = fanfold.consumer(chunk_size=10)(notes(given))
    event = fifo_event(("a", {"n": 0}), ("a", "no JSON"), ("a", {"n": 1}), ("b", {"n": 3}))
    assert kinds(await handler.process(event)) == [Done, Rejected, NotStarted, Done]
    assert given == [[{"n": 0}], [{"n": 3}]]
