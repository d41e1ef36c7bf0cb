"""The in-memory queue, as jobs use it: through the port, on the same messages as a simulation."""

import math

import pytest

from fanfold._base.record import Record
from fanfold._ports.queue import Message
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.testing import ManualClock, make_record


def bodies(queue: InMemoryQueue) -> list[str]:
    return [message.body for message in queue.messages()]


async def test_messages_returns_all_messages_visible_or_not():
    """Messages are in the order of sending, with bodies, attributes, and receive counts."""
    queue = InMemoryQueue(clock=ManualClock())
    await queue.send([Message("first", {"name": "value"}), Message("second"), Message("later", delay_seconds=60)])
    [received] = await queue.receive(max_messages=1)
    first, second, later = queue.messages()
    assert (first.body, first.attributes, first.receive_count) == ("first", {"name": "value"}, 1)
    assert (first.message_id, first.handle) == (received.message_id, received.receipt_handle)
    assert [(message.body, message.receive_count, message.visible_at) for message in (second, later)] == [
        ("second", 0, 0),
        ("later", 0, 60),
    ]


async def test_the_port_and_a_simulation_work_on_the_same_messages():
    """``take`` returns sent messages, ``receive`` returns put ones, and both ``remove`` and ``delete`` delete."""
    queue = InMemoryQueue(clock=ManualClock())
    await queue.send([Message("sent", {"name": "value"})])
    queue.put(make_record("put", message_id="m-1"))
    (taken,) = queue.take(1)
    assert taken.as_record()["messageAttributes"]["name"]["stringValue"] == "value"
    [received] = await queue.receive()
    assert (received.message_id, received.body, received.receive_count) == ("m-1", "put", 1)
    assert queue.remove(received.receipt_handle)
    await queue.delete([taken.handle])
    assert len(queue) == 0


async def test_a_queued_message_can_be_sent_again():
    """The copy has the same attributes, group ID, and deduplication ID."""
    queue = InMemoryQueue(fifo=True, clock=ManualClock())
    original = Message("body", {"name": "value"}, group_id="group", deduplication_id="id")
    await queue.send([original])
    (queued,) = queue.messages()
    assert queued.message == original
    queue.put({"messageId": "m", "body": "bare"})
    assert queue.messages()[1].message == Message("bare")


async def test_a_message_in_flight_blocks_its_fifo_group_and_order_is_kept():
    """A message without a group forms a separate group."""
    clock = ManualClock()
    queue = InMemoryQueue(fifo=True, visibility_timeout=30, clock=clock)
    await queue.send([Message("a1", group_id="a"), Message("a2", group_id="a"), Message("x"), Message("y")])
    assert [message.body for message in await queue.receive(max_messages=1)] == ["a1"]
    assert [message.body for message in await queue.receive()] == ["x", "y"]
    assert queue.seconds_until_visible() == 30
    clock.advance(30)
    assert [message.body for message in await queue.receive()] == ["a1", "a2", "x", "y"]


@pytest.mark.parametrize("fifo", [False, True])
async def test_discard_removes_messages_in_flight_or_not(fifo: bool):
    """The receipt handle of a discarded message is invalid."""
    queue = InMemoryQueue(fifo=fifo, clock=ManualClock())
    await queue.send([Message(body, group_id="group") for body in "abc"])
    [received] = await queue.receive(max_messages=1)
    queue.discard(queue.messages()[:2])
    assert bodies(queue) == ["c"]
    assert not queue.change_visibility(received.receipt_handle, 1)
    queue.discard(queue.messages())
    assert (len(queue), queue.seconds_until_visible()) == (0, math.inf)
    assert await queue.receive() == []


async def test_a_message_received_too_often_moves_to_the_dead_letter_queue_with_its_id_and_history():
    """The move happens at the next receive."""
    clock = ManualClock()
    dead = InMemoryQueue(clock=clock)
    queue = InMemoryQueue(max_receive_count=1, dead_letter_queue=dead, clock=clock)
    await queue.send([Message("body", {"name": "value"})])
    [received] = await queue.receive()
    clock.advance(30)
    assert await queue.receive() == []
    (dead_letter,) = dead.messages()
    assert (dead_letter.message_id, dead_letter.body, dead_letter.attributes) == (
        received.message_id,
        "body",
        {"name": "value"},
    )
    assert (dead_letter.moved_from, dead_letter.history) == (0, ["moved to the dead-letter queue after 1 receives"])


async def test_messages_that_move_to_the_dead_letter_queue_do_not_shorten_a_receive():
    """A receive returns the other visible messages, up to its limit."""
    clock, dead_letters = ManualClock(), InMemoryQueue()
    queue = InMemoryQueue(clock=clock, max_receive_count=1, visibility_timeout=5, dead_letter_queue=dead_letters)
    await queue.send([Message(f"old {number}") for number in range(10)])
    await queue.receive(max_messages=10)
    clock.advance(5)
    await queue.send([Message(f"new {number}") for number in range(5)])
    assert {received.body for received in await queue.receive(max_messages=10)} == {
        f"new {number}" for number in range(5)
    }
    assert len(dead_letters) == 10


async def test_a_rejected_message_is_sent_to_the_dead_letter_queue_as_a_new_message():
    """Its receive count restarts, so the redrive policy of the dead-letter queue does not drop it."""
    record = Record(make_record("bad") | {"attributes": {"ApproximateReceiveCount": "5"}})
    dead_letters = InMemoryQueue(max_receive_count=3)
    assert await InMemorySettler(InMemoryQueue(), dead_letters).send_dead_letters([(record, "never")]) == []
    [received] = await dead_letters.receive()
    assert (received.body, received.receive_count) == ("bad", 1)
