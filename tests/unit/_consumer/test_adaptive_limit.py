"""A concurrency limit that changes while a batch runs, and that can hold back all starts."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive import ScriptedLimit, run
from batches import fifo_event, kinds
from fanfold import BatchResult, Done, Failed, NotStarted, Record
from fanfold._base.deadline import Deadline
from fanfold.testing import make_event
from settlers import STEADY, AcceptingAll


class OverloadedError(Exception):
    """A service refuses a call."""


class Meter:
    """Counts the records in flight.

    Args:
        expected: Number of records in flight that later records wait for, once as many have ended.
    """

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        self.running: list[str] = []
        self.seen: list[int] = []
        self.lock = threading.Lock()

    def enter(self, record: Record) -> None:
        with self.lock:
            self.running.append(record.message_id)
            self.seen.append(len(self.running))

    def leave(self, record: Record) -> None:
        with self.lock:
            self.running.remove(record.message_id)

    @property
    def waits(self) -> bool:
        """True while a record must not end."""
        return len(self.seen) - len(self.running) >= self.expected > max(self.seen)

    async def handle(self, record: Record) -> None:
        self.enter(record)
        await asyncio.sleep(0.001)
        while self.waits:  # noqa: ASYNC110 - for other records
            await asyncio.sleep(0.001)
        self.leave(record)

    def handle_here(self, record: Record) -> None:
        self.enter(record)
        threading.Event().wait(0.001)
        while self.waits:
            threading.Event().wait(0.001)
        self.leave(record)


def run_both(
    event: Any, create: Callable[[], ScriptedLimit], expected: int = 0, **options: Any
) -> list[tuple[BatchResult, Meter]]:
    """Process a batch with an async handler, and on threads."""
    results = []
    for on_threads in (False, True):
        meter = Meter(expected)
        on_thread = meter.handle_here if on_threads else None
        results.append((asyncio.run(run(event, create(), meter.handle, on_thread=on_thread, **options)), meter))
    return results


def test_a_batch_has_no_more_workers_than_the_limit():
    """In tasks and on threads."""
    for result, meter in run_both(make_event(*range(20)), lambda: ScriptedLimit(3)):
        assert kinds(result) == [Done] * 20
        assert max(meter.seen) <= 3


def test_more_records_run_when_the_limit_rises():
    """Workers start while the batch runs."""
    for result, meter in run_both(make_event(*range(40)), lambda: ScriptedLimit(1, *range(2, 9)), 8):
        assert kinds(result) == [Done] * 40
        assert max(meter.seen) == 8


def test_fewer_records_run_when_the_limit_falls():
    """Workers end after their record."""
    for result, meter in run_both(make_event(*range(40)), lambda: ScriptedLimit(8, *[2] * 40)):
        assert kinds(result) == [Done] * 40
        assert max(meter.seen[-20:]) <= 2


def test_more_records_run_when_a_coroutine_that_a_def_handler_returned_has_ended():
    """Its record ends with it, not with the call of the handler."""
    meter = Meter(expected=8)
    limit = ScriptedLimit(1, *range(2, 9))
    result = asyncio.run(run(make_event(*range(40)), limit, meter.handle, on_thread=meter.handle))
    assert kinds(result) == [Done] * 40
    assert max(meter.seen) == 8


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(1, 30))
def test_every_record_runs_once_however_the_limit_moves(workers: list[int], count: int):
    """It may change after each record."""
    for result, meter in run_both(make_event(*range(count)), lambda: ScriptedLimit(*workers)):
        assert kinds(result) == [Done] * count
        assert len(meter.seen) == count


def test_the_limit_is_notified_of_what_each_record_returned_or_raised():
    """With the number of records in flight."""
    limit, error = ScriptedLimit(1), OverloadedError()

    async def handler(record: Record) -> str:
        if record.message_id == "message-1":
            raise error
        return record.body

    asyncio.run(run(make_event("a", "b"), limit, handler))
    assert limit.seen == [("a", 1), (error, 1)]


def test_records_that_may_not_start_in_time_are_not_started_and_their_messages_are_delayed_until_they_may():
    """The response does not wait for the end of the invocation."""
    settler, deadline = AcceptingAll(), Deadline.after(60)
    limit = ScriptedLimit(2, held_until=deadline.clock() + 100)
    for result, meter in run_both(make_event(1, 2), lambda: limit, settler=settler, deadline=deadline):
        assert result.outcomes == [NotStarted("the service asked for a pause")] * 2
        assert not meter.seen
        assert {99, 100} >= set(settler.visibility_changes.values())
        assert set(settler.visibility_changes) == {"message-0", "message-1"}


def test_records_in_flight_end_when_the_others_may_not_start():
    """The others are not started, and delayed."""
    settler, deadline = AcceptingAll(), Deadline.after(60)
    limit = ScriptedLimit(1)

    async def handler(record: Record) -> None:
        limit.held_until = deadline.clock() + 100
        limit.next = [1]  # a change, so that the next start asks

    result = asyncio.run(run(make_event(1, 2), limit, handler, settler=settler, deadline=deadline))
    assert kinds(result) == [Done, NotStarted]
    assert set(settler.visibility_changes) == {"message-1"}


def test_messages_are_not_delayed_for_a_pause_that_is_over_when_no_more_records_start():
    """A delay of 0 would use up their receives immediately."""
    settler, deadline = AcceptingAll(), Deadline(time.monotonic() + 5, 4.7)  # records start for 0.3 seconds
    limit = ScriptedLimit(1, held_until=deadline.clock() + 0.01)

    async def handler(record: Record) -> None:
        limit.next = [1]  # the next start asks
        while deadline.clock() < deadline.stops_at:  # noqa: ASYNC110 - until no more records start
            await asyncio.sleep(0.001)

    result = asyncio.run(run(make_event(1, 2), limit, handler, settler=settler, deadline=deadline))
    assert kinds(result) == [Done, NotStarted]
    assert not settler.visibility_changes


@pytest.mark.parametrize(("backoff", "expected"), [(None, 7), (STEADY, 10)])
def test_a_message_that_an_overloaded_service_refused_is_delayed_for_at_least_the_time_it_asks_for(backoff, expected):
    """The backoff of the first delivery is 10 s here."""
    settler = AcceptingAll()

    async def handler(record: Record) -> None:
        raise OverloadedError

    limit = ScriptedLimit(1, retry_after={OverloadedError: 6.5})
    result = asyncio.run(run(make_event(1), limit, handler, settler=settler, backoff=backoff))
    assert kinds(result) == [Failed]
    assert settler.visibility_changes == {"message-0": expected}


def test_other_failures_without_a_backoff_keep_the_visibility_timeout():
    """No call of SQS is made for them."""
    settler = AcceptingAll()

    async def handler(record: Record) -> None:
        raise ValueError

    asyncio.run(run(make_event(1), ScriptedLimit(1), handler, settler=settler))
    assert not settler.visibility_changes


def test_the_rest_of_a_group_is_delayed_with_the_message_that_the_service_refused():
    """The group keeps its order."""
    settler = AcceptingAll()

    async def handler(record: Record) -> None:
        raise OverloadedError

    limit = ScriptedLimit(5, retry_after={OverloadedError: 30})
    result = asyncio.run(run(fifo_event(("a", 1), ("a", 2)), limit, handler, settler=settler))
    assert kinds(result) == [Failed, NotStarted]
    assert settler.visibility_changes == {"message-0": 30, "message-1": 30}
