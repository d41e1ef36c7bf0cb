"""The queue in this process, as a simulation uses it."""

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


def test_an_empty_queue_has_nothing_to_wait_for():
    """Standard or FIFO."""
    for fifo in (False, True):
        queue, _ = make_queue(fifo=fifo)
        assert queue.next_visible_at() == math.inf
        assert queue.take(10) == []


@pytest.mark.parametrize("fifo", [False, True])
def test_a_received_message_is_hidden_until_its_timeout(fifo: bool):
    """To the very moment."""
    queue, clock = make_queue(visibility_timeout=30, fifo=fifo)
    queue.put(make_fifo_record(1))
    assert len(queue.take(10)) == 1
    assert queue.next_visible_at() == 30
    clock.advance(29.9)
    assert queue.take(10) == []
    clock.advance(0.1)
    assert len(queue.take(10)) == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_only_the_handle_of_the_last_receive_deletes(fifo: bool):
    """An older one does nothing, one of a message that is gone neither."""
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


def test_a_message_that_is_visible_cannot_be_hidden():
    """SQS says that it is not in flight."""
    queue, clock = make_queue(visibility_timeout=30)
    queue.put(make_record(1))
    handle = queue.take(1)[0].handle
    assert queue.change_visibility(handle, 10)
    clock.advance(10)
    assert not queue.change_visibility(handle, 10)


def test_a_message_is_hidden_for_twelve_hours_at_most():
    """Since it was received."""
    queue, clock = make_queue(visibility_timeout=43_200)
    queue.put(make_record(1))
    handle = queue.take(1)[0].handle
    clock.advance(10)
    assert not queue.change_visibility(handle, 43_191)
    assert queue.change_visibility(handle, 43_190)
    assert queue.next_visible_at() == 43_200


def test_a_hidden_message_that_is_hidden_again_comes_at_the_last_time_asked_for():
    """Earlier or later."""
    queue, clock = make_queue(visibility_timeout=30)
    queue.put(make_record(1))
    handle = queue.take(1)[0].handle
    for seconds in (100, 5, 30, 8):
        assert queue.change_visibility(handle, seconds)
        assert queue.next_visible_at() == seconds
    clock.advance(8)
    assert len(queue.take(10)) == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_a_delayed_message_is_not_received_before_its_time(fifo: bool):
    """In a FIFO queue it holds back what follows in its group, and is not taken along by what leads."""
    queue, clock = make_queue(fifo=fifo)
    queue.put(make_fifo_record(0, message_id="now"))
    queue.put(make_fifo_record(1, message_id="later"), delay_seconds=5)
    assert [message.message_id for message in queue.take(10)] == ["now"]
    clock.advance(60)
    assert {message.message_id for message in queue.take(10)} == {"now", "later"}


def test_a_receive_gives_no_more_than_it_is_asked_for():
    """In both kinds of queue, in any order."""
    for settings in ({}, {"fifo": True}, {"reordered": True}):
        queue, _ = make_queue(**settings)
        for record in in_groups("aabbccddee"):
            queue.put(record)
        taken = [message.message_id for most in (3, 4, 10) for message in queue.take(most)]
        assert len(taken) == len(set(taken))
        assert len(taken) == 10 or settings == {"fifo": True}


def test_a_fifo_group_without_its_end_keeps_the_order_of_groups_between_them():
    """A receive may take several groups, each from its head on."""
    queue, _ = make_queue(fifo=True)
    for record in in_groups("abacab"):
        queue.put(record)
    taken = [message.message_id for message in queue.take(10)]
    assert {group: list(ids) for group, ids in groupby(sorted(taken), key=lambda one: one[0])} == {
        "a": ["a0", "a2", "a4"],
        "b": ["b1", "b5"],
        "c": ["c3"],
    }
    assert [one for one in taken if one.startswith("a")] == ["a0", "a2", "a4"]


def test_too_many_receives_without_a_dead_letter_queue_drop_the_message():
    """There is nowhere for it to go."""
    queue, clock = make_queue(max_receive_count=1, visibility_timeout=30)
    queue.put(make_record(1))
    queue.take(1)
    clock.advance(30)
    assert queue.take(1) == []
    assert len(queue) == 0


async def test_a_settler_says_which_delays_the_queue_refused():
    """By position; the others hold."""
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
