"""The simulator: that what it does to messages is what SQS and Lambda do to them."""

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

# --- The plain case.


def test_an_empty_queue_is_delivered_nowhere():
    """The function is not invoked."""
    simulator = Simulator(done)
    assert list(simulator.run()) == []
    assert simulator.clock.now == 0


def test_what_succeeds_is_delivered_once_and_deleted():
    """In batches of ten, in the order of sending."""
    simulator = simulate(done, *range(25))
    deliveries = simulator.deliveries
    assert [len(delivery.messages) for delivery in deliveries] == [10, 10, 5]
    assert acknowledged(simulator) == [f"message-{number}" for number in range(25)]
    assert [delivery.number for delivery in deliveries] == [0, 1, 2]
    assert len(simulator.queue) == 0
    assert not simulator.dead_letters


def test_a_handler_gets_the_event_that_lambda_would_give_it():
    """Bodies, counts, handles, attributes; a context with the time left; a copy that is its own to spoil."""
    seen = []

    def handler(event: Event, context: Any) -> None:
        seen.append((json.loads(json.dumps(event)), context.get_remaining_time_in_millis()))
        event["Records"].clear()

    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    record = make_record({"order": 1}, message_id="sent", message_attributes=attributes)
    simulator = simulate(handler, "text", records=[record], function_timeout=60)
    (delivery,) = simulator.deliveries
    ((event, remaining),) = seen
    assert [one["body"] for one in event["Records"]] == ["text", '{"order": 1}']
    assert event["Records"][1] == {**record, "receiptHandle": delivery.handles[1]}
    assert event["Records"][1]["messageAttributes"] == attributes
    assert 0 < remaining <= 60_000
    assert acknowledged(simulator) == ["message-0", "sent"]


def test_the_ids_of_messages_sent_later_are_new_ones():
    """Also when the queue has become shorter meanwhile: two messages of one id share their fate."""
    simulator = Simulator(failing("message-1", "message-2", times=1))
    simulator.send(0, 1, 2)
    simulator.run(until=10)
    simulator.send("later")
    assert len({message.message_id for message in simulator.queue.messages()}) == 3


def test_the_ids_of_messages_sent_to_an_empty_queue_are_new_ones():
    """What a test has seen of the first run is not mistaken for the second."""
    simulator = simulate(done, 0)
    simulator.send(1)
    simulator.run()
    assert len(set(acknowledged(simulator))) == 2


# --- Redelivery and dead letters.


def test_a_reported_message_comes_back_after_the_visibility_timeout_with_a_higher_count():
    """The rest is gone."""
    simulator = simulate(failing("message-1", times=2), 0, 1, 2, visibility_timeout=40)
    deliveries = simulator.deliveries
    assert batches(deliveries) == [["message-0", "message-1", "message-2"], ["message-1"], ["message-1"]]
    assert counts(deliveries) == [[1, 1, 1], [2], [3]]
    assert times(deliveries) == [(0, 1), (40, 41), (80, 81)]
    assert not simulator.dead_letters


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_message_is_a_dead_letter_after_its_last_receive(most: int):
    """It was delivered as often as the queue allows; what was well beside it is not touched."""
    simulator = simulate(failing("message-0"), "poison", "well", max_receive_count=most)
    assert batches(simulator.deliveries) == [["message-0", "message-1"], *[["message-0"]] * (most - 1)]
    assert dead(simulator) == ["message-0"]
    assert simulator.dead_letters[0].body == "poison"
    assert reason_in(simulator.dead_letters[0]) is None
    assert len(simulator.queue) == 0


def test_a_dead_letter_tells_what_happened_to_it():
    """One line for each delivery, with the reason, and one for the move."""
    simulator = simulate(failing("message-0"), "poison", "well", max_receive_count=2)
    (letter,) = simulator.dead_letter_queue.messages()
    assert letter.history == [
        "delivery 0: came back (1 of 2 messages are reported)",
        "delivery 1: came back (every message of the batch is reported)",
        "moved to the dead-letter queue after 2 receives",
    ]


def test_a_dead_letter_keeps_its_attributes_and_its_count_of_receives():
    """What is looked at to find out why."""
    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    simulator = simulate(
        failing("sent"), records=[make_record(1, message_id="sent", message_attributes=attributes)], max_receive_count=3
    )
    (letter,) = simulator.dead_letters
    assert letter.message_attributes == attributes
    assert letter.receive_count >= 3


def test_without_a_redrive_policy_nothing_is_ever_a_dead_letter():
    """It comes back until it succeeds."""
    simulator = simulate(failing("message-0", times=50), 1, max_receive_count=None)
    assert counts(simulator.deliveries) == [[number] for number in range(1, 52)]
    assert not simulator.dead_letters


def test_a_message_that_arrives_with_receives_behind_it_goes_on_from_there():
    """Records captured from a real queue have been received before."""
    simulator = simulate(
        failing("old"), records=[make_record(1, message_id="old", receive_count=4)], max_receive_count=5
    )
    assert counts(simulator.deliveries) == [[4], [5]]
    assert dead(simulator) == ["old"]


def test_more_dead_letters_than_a_receive_holds_do_not_keep_what_is_behind_them():
    """SQS moves them when they would be received once more."""
    simulator = Simulator(failing(*[f"old-{number}" for number in range(25)]), max_receive_count=1)
    simulator.send(records=[make_record(1, message_id=f"old-{number}") for number in range(25)])
    simulator.run(until=10)
    simulator.send(records=[make_record(1, message_id="new")])
    simulator.run()
    assert len(dead(simulator)) == 25
    assert acknowledged(simulator) == ["new"]


def test_two_messages_of_one_id_are_both_delivered_and_share_their_fate():
    """An answer cannot tell them apart, so one that fails takes the other along."""
    seen = []

    def handler(event: Event, context: Any) -> dict[str, Any]:
        seen.append([record["body"] for record in event["Records"]])
        bad = [one for one in event["Records"] if one["body"] == "bad" and count_of(one) == 1]
        return batch_response(one["messageId"] for one in bad)

    simulator = simulate(handler, records=[make_record(body, message_id="same") for body in ("good", "bad")])
    assert seen == [["good", "bad"], ["good", "bad"]]
    assert len(simulator.queue) == 0


# --- How long a run is.


def test_a_run_ends_when_the_time_comes():
    """What runs then is let finish; the next run goes on from there."""
    simulator = Simulator(failing("message-0", times=5), max_receive_count=None)
    simulator.send(1)
    assert len(simulator.run(until=65)) == 3
    assert len(simulator.queue) == 1
    assert len(simulator.run(until=90)) == 4
    assert len(simulator.run()) == 6


def test_no_delivery_begins_after_the_time_that_a_run_ends():
    """Also when what was let finish has moved the clock beyond it."""
    simulator = Simulator(done, invocation_seconds=20)
    simulator.send(1)
    simulator.run(until=5)
    simulator.send(2)
    assert all(delivery.began_at <= 6 for delivery in simulator.run(until=6))


def test_a_run_ends_after_so_many_deliveries():
    """The next run goes on; nothing is lost between them."""
    simulator = Simulator(done, batch_size=1)
    simulator.send(*range(5))
    assert len(simulator.run(most_deliveries=2)) == 2
    assert len(simulator.queue) == 3
    assert simulator.clock.now == 1
    assert len(simulator.run()) == 5
    assert acknowledged(simulator) == [f"message-{number}" for number in range(5)]


def test_a_run_of_no_deliveries_delivers_nothing():
    """And a function that never succeeds is stopped by a number."""
    simulator = Simulator(failing("message-0"), max_receive_count=None)
    simulator.send(1)
    assert len(simulator.run(most_deliveries=0)) == 0
    assert len(simulator.run(most_deliveries=100)) == 100


def test_messages_can_be_sent_by_the_handler_while_it_runs():
    """A chain of messages is followed to its end."""

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
    """When the simulator is made, not in the middle of a run."""
    with pytest.raises(ConfigurationError):
        Simulator(done, **settings)


def test_a_simulator_needs_a_handler():
    """Or another way to invoke one."""
    with pytest.raises(ConfigurationError, match="needs a handler"):
        Simulator()
    Simulator(invoke=lambda event: Returned("null"))


def test_a_handler_that_cannot_be_called_is_refused():
    """It would only make dead letters."""
    with pytest.raises(ConfigurationError):
        Simulator("orders.handler")
