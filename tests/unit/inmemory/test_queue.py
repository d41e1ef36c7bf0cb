"""The in-memory queue, as a simulation uses it."""

import math
from itertools import groupby
from typing import Any

import pytest

from fanfold import Record
from fanfold._base.dead_letter import reason_in
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import ManualClock, make_fifo_record, make_record
from simulated import in_groups


def make_queue(**settings: Any) -> tuple[InMemoryQueue, ManualClock]:
    clock = ManualClock()
    return InMemoryQueue(**settings, clock=clock), clock


def test_an_empty_queue_has_no_next_visible_message():
    """This holds for standard and FIFO queues."""
    for fifo in (False, True):
        queue, _ = make_queue(fifo=fifo)
        assert queue.next_visible_at() == math.inf
        assert queue.take(10) == []


@pytest.mark.parametrize("fifo", [False, True])
def test_a_received_message_is_invisible_until_its_visibility_timeout_ends(fifo: bool):
    """It becomes visible exactly when the timeout ends."""
    queue, clock = make_queue(visibility_timeout=30, fifo=fifo)
    queue.put(make_fifo_record(1))
    assert len(queue.take(10)) == 1
    assert queue.next_visible_at() == 30
    clock.advance(29.9)
    assert queue.take(10) == []
    clock.advance(0.1)
    assert len(queue.take(10)) == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_only_the_receipt_handle_of_the_last_receive_is_valid(fifo: bool):
    """An older handle, or the handle of a deleted message, has no effect."""
    queue, clock = make_queue(visibility_timeout=30, fifo=fifo)
    queue.put(make_fifo_record(1))
    first = queue.take(1)[0].handle
    clock.advance(30)
    second = queue.take(1)[0].handle
    assert not queue.remove(first)
    assert not queue.change_visibility(first, 5)
    assert queue.remove(second)
    assert not queue.remove(second)
    assert not queue.change_visibility(second, 5)
    assert len(queue) == 0
    assert queue.next_visible_at() == math.inf


def test_the_visibility_timeout_of_a_visible_message_cannot_be_changed():
    """SQS refuses the call: the message is not in flight."""
    queue, clock = make_queue(visibility_timeout=30)
    queue.put(make_record(1))
    handle = queue.take(1)[0].handle
    assert queue.change_visibility(handle, 10)
    clock.advance(10)
    assert not queue.change_visibility(handle, 10)


def test_a_visibility_timeout_ends_at_most_twelve_hours_after_the_receive():
    """A change that would exceed the limit is refused."""
    queue, clock = make_queue(visibility_timeout=43_200)
    queue.put(make_record(1))
    handle = queue.take(1)[0].handle
    clock.advance(10)
    assert not queue.change_visibility(handle, 43_191)
    assert queue.change_visibility(handle, 43_190)
    assert queue.next_visible_at() == 43_200


def test_the_last_change_of_a_visibility_timeout_counts():
    """A change may shorten or extend the timeout."""
    queue, clock = make_queue(visibility_timeout=30)
    queue.put(make_record(1))
    handle = queue.take(1)[0].handle
    for seconds in (100, 5, 30, 8):
        assert queue.change_visibility(handle, seconds)
        assert queue.next_visible_at() == seconds
    clock.advance(8)
    assert len(queue.take(10)) == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_a_delayed_message_is_not_received_before_its_delay_ends(fifo: bool):
    """In a FIFO queue, it blocks the rest of its group, and is not received along with earlier messages."""
    queue, clock = make_queue(fifo=fifo)
    queue.put(make_fifo_record(0, message_id="now"))
    queue.put(make_fifo_record(1, message_id="later"), delay_seconds=5)
    assert [message.message_id for message in queue.take(10)] == ["now"]
    clock.advance(60)
    assert {message.message_id for message in queue.take(10)} == {"now", "later"}


def test_a_receive_returns_at_most_max_messages():
    """This holds for standard, FIFO, and reordering queues."""
    for settings in ({}, {"fifo": True}, {"reordered": True}):
        queue, _ = make_queue(**settings)
        for record in in_groups("aabbccddee"):
            queue.put(record)
        taken = [message.message_id for limit in (3, 4, 10) for message in queue.take(limit)]
        assert len(taken) == len(set(taken))
        assert len(taken) == 10 or settings == {"fifo": True}


def test_a_fifo_receive_returns_several_groups_each_in_order():
    """Each group starts at its first message."""
    queue, _ = make_queue(fifo=True)
    for record in in_groups("abacab"):
        queue.put(record)
    taken = [message.message_id for message in queue.take(10)]
    assert {group: list(ids) for group, ids in groupby(sorted(taken), key=lambda message_id: message_id[0])} == {
        "a": ["a0", "a2", "a4"],
        "b": ["b1", "b5"],
        "c": ["c3"],
    }
    assert [message_id for message_id in taken if message_id.startswith("a")] == ["a0", "a2", "a4"]


def test_without_a_dead_letter_queue_too_many_receives_drop_the_message():
    """The queue is empty afterwards."""
    queue, clock = make_queue(max_receive_count=1, visibility_timeout=30)
    queue.put(make_record(1))
    queue.take(1)
    clock.advance(30)
    assert queue.take(1) == []
    assert len(queue) == 0


async def test_a_settler_returns_the_refused_delays():
    """Refusals have positions; the other delays take effect."""
    queue, _ = make_queue()
    for number in range(2):
        queue.put(make_record(number, message_id=f"m{number}"))
    records = [Record(message.as_record()) for message in queue.take(10)]
    dead_letters, _ = make_queue()
    settler = await InMemorySettler(queue, dead_letters)()
    assert [
        refusal.position for refusal in await settler.change_visibility([(records[0], 43_201), (records[1], 7)])
    ] == [0]
    assert queue.next_visible_at() == 7
    assert await settler.send_dead_letters([(records[0], "never")]) == []
    assert [reason_in(Record(message.record)) for message in dead_letters.messages()] == ["never"]
