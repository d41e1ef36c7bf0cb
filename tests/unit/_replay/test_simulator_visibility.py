"""The simulator: visibility timeouts."""

import json

import pytest

import fanfold
from fanfold import Backoff, Record, Reject, Retry
from fanfold._base.dead_letter import reason_in
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_record
from simple_handlers import nothing, raises
from simulated import batches, counts, dead, done, max_concurrent, simulate, times


def test_backoff_and_retry_change_the_visibility_timeout():
    """Other failures keep the visibility timeout of the queue."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.receive_count == 1:
            raise {"5": Retry(after=5), "100": Retry(after=100)}.get(record.body, ValueError())

    deliveries = simulate(handler, "5", "100", "timeout", visibility_timeout=30).deliveries
    assert [delivery.began_at for delivery in deliveries] == [0, 5, 30, 100]
    assert batches(deliveries)[1:] == [["message-0"], ["message-2"], ["message-1"]]


@pytest.mark.parametrize("fifo", [False, True])
@pytest.mark.parametrize("after", [0, 5])
def test_a_message_is_not_redelivered_before_its_invocation_has_ended(after: int, fifo: bool):
    """Even if its handler raises ``Retry`` with a shorter delay."""
    handler = fanfold.consumer(raises(Retry(after=after)))
    deliveries = simulate(handler, 1, fifo=fifo, invocation_seconds=20, max_receive_count=3).deliveries
    assert len(deliveries) == 3
    assert max_concurrent(deliveries) == 1


def test_the_backoff_grows_with_each_delivery():
    """Measured from one delivery to the next."""
    handler = fanfold.consumer(backoff=Backoff(base=10, jitter=0))(raises(ValueError))
    simulator = simulate(handler, 1, max_receive_count=4)
    assert [delivery.began_at for delivery in simulator.deliveries] == [0, 10, 30, 70]
    assert simulator.dead_letter_queue.messages()[0].history[:2] == [
        "visibility timeout set to 10 s by the handler",
        "delivery 0: kept for redelivery (every message of the batch is reported as failed)",
    ]


def test_the_jitter_of_a_backoff_is_the_same_for_the_same_seed():
    """The simulator seeds all random choices."""
    handler = fanfold.consumer(backoff=Backoff(base=1_000, jitter=1))(raises(ValueError))

    def began() -> list[float]:
        simulator = Simulator(handler, seed=7)
        simulator.send(1, 2, 3)
        return [delivery.began_at for delivery in simulator.run()]

    assert began() == began()


def test_a_delay_beyond_twelve_hours_since_the_receive_is_halved():
    """The batching window has used some seconds of the twelve hours."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.receive_count == 1:
            raise Retry(after=43_200)

    assert [delivery.began_at for delivery in simulate(handler, 1, window_seconds=20).deliveries] == [
        20,
        20 + 21_600 + 20,
    ]


def test_a_rejected_message_is_dead_lettered_immediately_with_its_reason():
    """It is deleted from the queue in its first delivery, and keeps its attributes."""

    @fanfold.consumer
    async def handler(body: str) -> None:
        if body == "bad":
            raise Reject("no such customer")

    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    simulator = simulate(
        handler, "good", records=[make_record("bad", message_id="sent", message_attributes=attributes)]
    )
    assert len(simulator.deliveries) == 1
    (letter,) = simulator.dead_letters
    assert (letter.message_id, letter.body, reason_in(letter)) == ("sent", "bad", "no such customer")
    assert letter.message_attributes["tenant"] == attributes["tenant"]
    details = json.loads(letter.message_attributes["fanfold"]["stringValue"])
    assert (details["message_id"], details["receive_count"]) == ("sent", 1)
    assert simulator.dead_letter_queue.messages()[0].history == ["rejected by the handler: no such customer"]
    assert len(simulator.queue) == 0


def test_a_body_that_cannot_be_decoded_is_dead_lettered_immediately():
    """It would never succeed."""
    handler = fanfold.consumer(nothing)
    simulator = simulate(handler, "{", 1)
    assert len(simulator.deliveries) == 1
    assert dead(simulator) == ["message-0"]


def test_without_a_dead_letter_queue_url_a_rejected_message_is_reported():
    """It is redelivered until the queue's redrive policy moves it."""
    handler = fanfold.consumer(dead_letter_queue_url="")(raises(Reject("never")))
    simulator = simulate(handler, 1, max_receive_count=3)
    assert counts(simulator.deliveries) == [[1], [2], [3]]
    assert reason_in(simulator.dead_letters[0]) is None


def test_a_message_is_delivered_twice_if_its_visibility_timeout_is_shorter_than_the_invocation():
    """The first deletion has no effect, because the message was received again in the meantime."""
    simulator = Simulator(done, visibility_timeout=10, invocation_seconds=25, max_receive_count=None)
    simulator.send(1)
    deliveries = simulator.run(most_deliveries=2)
    assert times(deliveries) == [(0, 25), (10, 35)]
    assert counts(deliveries) == [[1], [2]]
    assert deliveries[0].messages[0].history == [
        "delivery 0: not deleted: received again in the meantime (the response is null or empty)",
        "delivery 1: deleted (the response is null or empty)",
    ]
    assert len(simulator.queue) == 0


def test_a_message_can_be_dead_lettered_although_every_invocation_succeeds():
    """If its visibility timeout is shorter than the invocation, its receives are used up."""
    simulator = simulate(done, 1, visibility_timeout=10, invocation_seconds=25, max_receive_count=2)
    assert len(simulator.deliveries) == 2
    assert dead(simulator) == ["message-0"]


def test_the_visibility_timeout_starts_before_the_batching_window():
    """Received at 0 s, invoked at 20 s: visible again at 30 s, during the invocation."""
    simulator = simulate(done, 1, visibility_timeout=30, window_seconds=20, invocation_seconds=25)
    assert simulator.deliveries[0].began_at == 20
    assert simulator.deliveries[1].receive_counts == [2]
    assert simulator.deliveries[1].began_at == 50
