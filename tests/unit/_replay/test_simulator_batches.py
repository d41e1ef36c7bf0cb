"""The simulator: batches, windows, timeouts and throttles."""

import math
from typing import Any

import pytest

from fanfold._replay.mapping import Errored
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_record
from simulated import (
    Event,
    acknowledged,
    batches,
    count_of,
    counts,
    dead,
    done,
    failing,
    ids_of,
    max_concurrent,
    simulate,
    times,
)

# --- Batches.


@pytest.mark.parametrize(
    ("batch_size", "window", "messages", "sizes"),
    [
        (1, 0, 3, [1, 1, 1]),
        (3, 0, 10, [3, 3, 3, 1]),
        (10, 0, 10, [10]),
        (10, 0, 11, [10, 1]),
        (11, 1, 12, [11, 1]),
        (100, 1, 250, [100, 100, 50]),
        (10_000, 5, 10_001, [10_000, 1]),
    ],
)
def test_batches_are_as_large_as_the_mapping_says(batch_size: int, window: float, messages: int, sizes: list[int]):
    """From 1 to 10,000."""
    simulator = simulate(done, *range(messages), batch_size=batch_size, window_seconds=window)
    assert [len(delivery.messages) for delivery in simulator.deliveries] == sizes
    assert acknowledged(simulator) == [f"message-{number}" for number in range(messages)]


def test_a_batch_is_gathered_for_the_window_and_no_longer():
    """From its first message on; what comes later opens the next window."""
    simulator = Simulator(done, window_seconds=5)
    for number, delay in enumerate([0, 2, 4.5, 5.5, 30]):
        simulator.queue.put(make_record(number, message_id=f"m{number}"), delay_seconds=delay)
    deliveries = simulator.run()
    assert batches(deliveries) == [["m0", "m1", "m2"], ["m3"], ["m4"]]
    assert [delivery.began_at for delivery in deliveries] == [5, 10.5, 35]


def test_a_full_batch_does_not_wait_for_its_window():
    """Ten are there at once."""
    assert [
        (delivery.began_at, len(delivery.messages))
        for delivery in simulate(done, *range(12), window_seconds=300, visibility_timeout=1_800).deliveries
    ] == [(0, 10), (300, 2)]


def test_a_batch_ends_at_six_megabytes():
    """However many it may hold, and whatever its window."""
    simulator = simulate(done, *["x" * 1_048_000 for _ in range(14)], batch_size=100, window_seconds=10)
    assert [len(delivery.messages) for delivery in simulator.deliveries] == [6, 6, 2]
    assert len(acknowledged(simulator)) == len(set(acknowledged(simulator))) == 14


def test_no_more_is_received_than_a_batch_holds():
    """What waits in a poller's hands uses up its visibility timeout: here it would be delivered twice in one batch."""
    simulator = simulate(
        done, *range(10), batch_size=3, maximum_concurrency=1, invocation_seconds=10, visibility_timeout=30
    )
    assert acknowledged(simulator) == [f"message-{number}" for number in range(10)]
    assert all(set(delivery.receive_counts) == {1} for delivery in simulator.deliveries)


def test_the_counts_of_a_delivery_are_what_its_handler_was_told():
    """Also where a message stands in a batch twice, since its visibility is shorter than the window."""
    told = []

    def handler(event: Event, context: Any) -> None:
        told.append([count_of(record) for record in event["Records"]])

    assert counts(simulate(handler, 1, window_seconds=50, visibility_timeout=30).deliveries) == told


@pytest.mark.parametrize("concurrency", [1, 2, 3, 7])
def test_no_more_invocations_run_at_once_than_the_maximum(concurrency: int):
    """In simulated time; with enough to do it is reached."""
    simulator = simulate(
        done,
        *["x" * number for number in range(40)],
        batch_size=1,
        maximum_concurrency=concurrency,
        invocation_seconds=lambda event: 1 + len(event["Records"][0]["body"]) % 3,
        visibility_timeout=1_800,
    )
    assert max_concurrent(simulator.deliveries) == concurrency
    assert len(simulator.deliveries) == 40


def test_an_invocation_may_take_its_time_from_its_event():
    """Simulated seconds."""
    assert times(simulate(done, *range(12), invocation_seconds=lambda event: len(event["Records"]) * 2).deliveries) == [
        (0, 20),
        (0, 4),
    ]


# --- Timeouts and throttles.


def test_a_timeout_brings_the_whole_batch_back():
    """What was done in it comes back too."""
    simulator = simulate(
        failing("message-1"),
        0,
        1,
        2,
        invocation_seconds=lambda event: 31 if count_of(event["Records"][0]) == 1 else 30,
        function_timeout=30,
        visibility_timeout=180,
        max_receive_count=2,
    )
    deliveries = simulator.deliveries
    assert deliveries[0].invocation == Errored("timeout", "timed out after 30 s")
    assert times(deliveries) == [(0, 30), (180, 210)]
    assert batches(deliveries) == [["message-0", "message-1", "message-2"]] * 2
    assert acknowledged(simulator) == ["message-0", "message-2"]


def test_an_invocation_that_would_fail_after_its_timeout_times_out():
    """It does not get as far as its error."""

    def handler(event: Event, context: Any) -> None:
        raise ValueError

    (delivery,) = simulate(handler, 0, invocation_seconds=31, function_timeout=30, max_receive_count=1).deliveries
    assert delivery.invocation == Errored("timeout", "timed out after 30 s")


def test_a_function_that_always_times_out_makes_dead_letters_of_all():
    """Every delivery counts."""
    simulator = simulate(done, *range(4), invocation_seconds=math.inf, max_receive_count=3)
    assert len(simulator.deliveries) == 3
    assert len(dead(simulator)) == 4


def test_a_throttled_batch_comes_back_without_the_handler_having_run():
    """And the receive counts."""
    ran = []

    def handler(event: Event, context: Any) -> None:
        ran.append(ids_of(event))

    simulator = simulate(handler, 0, 1, throttled=1, max_receive_count=3)
    deliveries = simulator.deliveries
    assert ran == []
    assert counts(deliveries) == [[1, 1], [2, 2], [3, 3]]
    assert {delivery.invocation for delivery in deliveries} == {Errored("throttled", "no concurrency was left")}
    assert dead(simulator) == ["message-0", "message-1"]


def test_some_batches_are_throttled():
    """About the share that is asked for, and the others are not."""
    simulator = Simulator(done, batch_size=1, throttled=0.5, max_receive_count=None)
    simulator.send(*range(400))
    throttled = sum(isinstance(delivery.invocation, Errored) for delivery in simulator.run())
    assert 0.4 < throttled / len(simulator.deliveries) < 0.6
    assert len(acknowledged(simulator)) == 400
