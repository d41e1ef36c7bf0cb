"""The simulator treats messages as SQS and Lambda do."""

import json
import math
from typing import Any

import pytest

from fanfold._base.dead_letter import reason_in
from fanfold._replay.mapping import Returned
from fanfold._replay.simulator import Simulator
from fanfold.errors import ConfigurationError
from fanfold.testing import make_record
from simulated import (
    Event,
    acknowledged,
    batch_response,
    batches,
    count_of,
    counts,
    dead,
    done,
    failing,
    simulate,
    times,
)

# --- The simple case.


def test_an_empty_queue_has_no_deliveries():
    """The function is not invoked."""
    simulator = Simulator(done)
    assert list(simulator.run()) == []
    assert simulator.clock.now == 0


def test_messages_that_succeed_are_delivered_once_and_deleted():
    """In batches of ten, in the order they were sent."""
    simulator = simulate(done, *range(25))
    deliveries = simulator.deliveries
    assert [len(delivery.messages) for delivery in deliveries] == [10, 10, 5]
    assert acknowledged(simulator) == [f"message-{number}" for number in range(25)]
    assert [delivery.number for delivery in deliveries] == [0, 1, 2]
    assert len(simulator.queue) == 0
    assert not simulator.dead_letters


def test_a_handler_gets_the_event_that_lambda_would_pass():
    """Bodies, receive counts, handles, attributes, and a context; the handler may modify its copy of the event."""
    seen = []

    def handler(event: Event, context: Any) -> None:
        seen.append((json.loads(json.dumps(event)), context.get_remaining_time_in_millis()))
        event["Records"].clear()

    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    record = make_record({"order": 1}, message_id="sent", message_attributes=attributes)
    simulator = simulate(handler, "text", records=[record], function_timeout=60)
    (delivery,) = simulator.deliveries
    ((event, remaining),) = seen
    assert [record["body"] for record in event["Records"]] == ["text", '{"order": 1}']
    assert event["Records"][1] == {**record, "receiptHandle": delivery.handles[1]}
    assert event["Records"][1]["messageAttributes"] == attributes
    assert 0 < remaining <= 60_000
    assert acknowledged(simulator) == ["message-0", "sent"]


def test_messages_sent_later_get_new_ids():
    """Even if the queue is shorter by then: a response cannot distinguish two messages with the same id."""
    simulator = Simulator(failing("message-1", "message-2", times=1))
    simulator.send(0, 1, 2)
    simulator.run(until=10)
    simulator.send("later")
    assert len({message.message_id for message in simulator.queue.messages()}) == 3


def test_messages_sent_to_an_empty_queue_get_new_ids():
    """Messages of a first and a second run are distinct."""
    simulator = simulate(done, 0)
    simulator.send(1)
    simulator.run()
    assert len(set(acknowledged(simulator))) == 2


# --- Redelivery and dead letters.


def test_a_reported_message_is_redelivered_after_the_visibility_timeout_with_a_higher_count():
    """The other messages are deleted."""
    simulator = simulate(failing("message-1", times=2), 0, 1, 2, visibility_timeout=40)
    deliveries = simulator.deliveries
    assert batches(deliveries) == [["message-0", "message-1", "message-2"], ["message-1"], ["message-1"]]
    assert counts(deliveries) == [[1, 1, 1], [2], [3]]
    assert times(deliveries) == [(0, 1), (40, 41), (80, 81)]
    assert not simulator.dead_letters


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_message_is_dead_lettered_after_its_last_receive(most: int):
    """It was delivered max_receive_count times; the other message of its batch is not affected."""
    simulator = simulate(failing("message-0"), "poison", "good", max_receive_count=most)
    assert batches(simulator.deliveries) == [["message-0", "message-1"], *[["message-0"]] * (most - 1)]
    assert dead(simulator) == ["message-0"]
    assert simulator.dead_letters[0].body == "poison"
    assert reason_in(simulator.dead_letters[0]) is None
    assert len(simulator.queue) == 0


def test_a_dead_lettered_message_has_a_history():
    """One line for each delivery, with the reason, and one for the move to the dead-letter queue."""
    simulator = simulate(failing("message-0"), "poison", "good", max_receive_count=2)
    (letter,) = simulator.dead_letter_queue.messages()
    assert letter.history == [
        "delivery 0: kept for redelivery (1 of 2 messages are reported as failed)",
        "delivery 1: kept for redelivery (every message of the batch is reported as failed)",
        "moved to the dead-letter queue after 2 receives",
    ]


def test_a_dead_lettered_message_keeps_its_attributes_and_its_receive_count():
    """They help to find the cause."""
    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    simulator = simulate(
        failing("sent"), records=[make_record(1, message_id="sent", message_attributes=attributes)], max_receive_count=3
    )
    (letter,) = simulator.dead_letters
    assert letter.message_attributes == attributes
    assert letter.receive_count >= 3


def test_without_a_redrive_policy_no_message_is_dead_lettered():
    """It is redelivered until it succeeds."""
    simulator = simulate(failing("message-0", times=50), 1, max_receive_count=None)
    assert counts(simulator.deliveries) == [[number] for number in range(1, 52)]
    assert not simulator.dead_letters


def test_the_receive_count_of_a_record_continues():
    """Records captured from a real queue have been received before."""
    simulator = simulate(
        failing("old"), records=[make_record(1, message_id="old", receive_count=4)], max_receive_count=5
    )
    assert counts(simulator.deliveries) == [[4], [5]]
    assert dead(simulator) == ["old"]


def test_more_dead_letters_than_one_receive_returns_do_not_block_later_messages():
    """SQS moves them when they would be received once more."""
    simulator = Simulator(failing(*[f"old-{number}" for number in range(25)]), max_receive_count=1)
    simulator.send(records=[make_record(1, message_id=f"old-{number}") for number in range(25)])
    simulator.run(until=10)
    simulator.send(records=[make_record(1, message_id="new")])
    simulator.run()
    assert len(dead(simulator)) == 25
    assert acknowledged(simulator) == ["new"]


def test_two_messages_with_the_same_id_succeed_or_fail_together():
    """A response cannot distinguish them, so if one fails, both are redelivered."""
    seen = []

    def handler(event: Event, context: Any) -> dict[str, Any]:
        seen.append([record["body"] for record in event["Records"]])
        bad = [record for record in event["Records"] if record["body"] == "bad" and count_of(record) == 1]
        return batch_response(record["messageId"] for record in bad)

    simulator = simulate(handler, records=[make_record(body, message_id="same") for body in ("good", "bad")])
    assert seen == [["good", "bad"], ["good", "bad"]]
    assert len(simulator.queue) == 0


# --- The end of a run.


def test_a_run_ends_at_the_given_time():
    """Running invocations finish first; the next run continues from there."""
    simulator = Simulator(failing("message-0", times=5), max_receive_count=None)
    simulator.send(1)
    assert len(simulator.run(until=65)) == 3
    assert len(simulator.queue) == 1
    assert len(simulator.run(until=90)) == 4
    assert len(simulator.run()) == 6


def test_no_delivery_begins_after_the_end_of_a_run():
    """Even if a finishing invocation has moved the clock past it."""
    simulator = Simulator(done, invocation_seconds=20)
    simulator.send(1)
    simulator.run(until=5)
    simulator.send(2)
    assert all(delivery.began_at <= 6 for delivery in simulator.run(until=6))


def test_a_run_ends_after_the_given_number_of_deliveries():
    """The next run continues, and no message is lost between the two."""
    simulator = Simulator(done, batch_size=1)
    simulator.send(*range(5))
    assert len(simulator.run(most_deliveries=2)) == 2
    assert len(simulator.queue) == 3
    assert simulator.clock.now == 1
    assert len(simulator.run()) == 5
    assert acknowledged(simulator) == [f"message-{number}" for number in range(5)]


def test_a_run_of_no_deliveries_delivers_no_batch():
    """The limit also ends a run whose function never succeeds."""
    simulator = Simulator(failing("message-0"), max_receive_count=None)
    simulator.send(1)
    assert len(simulator.run(most_deliveries=0)) == 0
    assert len(simulator.run(most_deliveries=100)) == 100


def test_messages_can_be_sent_by_the_handler_while_it_runs():
    """The run continues until the last of them is delivered."""

    def handler(event: Event, context: Any) -> None:
        for record in event["Records"]:
            if int(record["body"]):
                simulator.send(records=[make_record(int(record["body"]) - 1, message_id=record["body"])])

    simulator = Simulator(handler)
    simulator.send(10)
    assert len(simulator.run()) == 11


# --- Settings.


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": 11},
        {"batch_size": 10_001, "window_seconds": 1},
        {"window_seconds": 301},
        {"fifo": True, "window_seconds": 1},
        {"maximum_concurrency": 0},
        {"maximum_concurrency": -1},
        {"maximum_concurrency": 1.5},
        {"maximum_concurrency": "5"},
        {"max_receive_count": 0},
        {"max_receive_count": 2.5},
        {"throttled": -0.1},
        {"throttled": 1.1},
        {"throttled": math.nan},
        {"throttled": 1, "max_receive_count": None},
        {"duplicates": -0.1},
        {"duplicates": 1.1},
        {"duplicates": 1, "max_receive_count": None},
        {"visibility_timeout": -1},
        {"visibility_timeout": math.nan},
        {"visibility_timeout": 43_201},
        {"function_timeout": 0},
        {"function_timeout": -1},
        {"function_timeout": math.nan},
        {"invocation_seconds": -1},
        {"invocation_seconds": math.nan},
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]):
    """When the simulator is created, not during a run."""
    with pytest.raises(ConfigurationError):
        Simulator(done, **settings)


def test_a_simulator_needs_a_handler():
    """Or an ``invoke`` callable."""
    with pytest.raises(ConfigurationError, match="requires a callable handler"):
        Simulator()
    Simulator(invoke=lambda event: Returned("null"))


def test_a_handler_that_is_not_callable_is_refused():
    """Every message would be dead-lettered."""
    with pytest.raises(ConfigurationError):
        Simulator("orders.handler")
