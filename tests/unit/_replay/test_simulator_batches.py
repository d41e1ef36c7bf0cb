"""The simulator: batches, batching windows, timeouts, and throttling."""

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
@pytest.mark.uncounted
def test_batches_have_the_batch_size_of_the_mapping(batch_size: int, window: float, messages: int, sizes: list[int]):
    """From 1 to 10,000."""
    simulator = simulate(done, *range(messages), batch_size=batch_size, window_seconds=window)
    assert [len(delivery.messages) for delivery in simulator.deliveries] == sizes
    assert acknowledged(simulator) == [f"message-{number}" for number in range(messages)]


def test_a_batch_is_complete_at_the_end_of_the_batching_window():
    """The window starts with the first message; a later message starts the next window."""
    simulator = Simulator(done, window_seconds=5)
    for number, delay in enumerate([0, 2, 4.5, 5.5, 30]):
        simulator.queue.put(make_record(number, message_id=f"m{number}"), delay_seconds=delay)
    deliveries = simulator.run()
    assert batches(deliveries) == [["m0", "m1", "m2"], ["m3"], ["m4"]]
    assert [delivery.began_at for delivery in deliveries] == [5, 10.5, 35]


def test_a_full_batch_does_not_wait_for_its_window():
    """Ten messages are available immediately."""
    assert [
        (delivery.began_at, len(delivery.messages))
        for delivery in simulate(done, *range(12), window_seconds=300, visibility_timeout=1_800).deliveries
    ] == [(0, 10), (300, 2)]


def test_a_batch_ends_at_six_megabytes():
    """For any batch size and batching window."""
    simulator = simulate(done, *["x" * 1_048_000 for _ in range(14)], batch_size=100, window_seconds=10)
    assert [len(delivery.messages) for delivery in simulator.deliveries] == [6, 6, 2]
    assert len(acknowledged(simulator)) == len(set(acknowledged(simulator))) == 14


def test_no_more_messages_are_received_than_fit_into_a_batch():
    """A received message that waits uses up its visibility timeout: here, a batch would contain it twice."""
    simulator = simulate(
        done, *range(10), batch_size=3, maximum_concurrency=1, invocation_seconds=10, visibility_timeout=30
    )
    assert acknowledged(simulator) == [f"message-{number}" for number in range(10)]
    assert all(set(delivery.receive_counts) == {1} for delivery in simulator.deliveries)


def test_the_receive_counts_of_a_delivery_are_those_in_the_event():
    """Even if a batch contains a message twice, because its visibility timeout is shorter than the batching window."""
    seen = []

    def handler(event: Event, context: Any) -> None:
        seen.append([count_of(record) for record in event["Records"]])

    assert counts(simulate(handler, 1, window_seconds=50, visibility_timeout=30).deliveries) == seen


@pytest.mark.parametrize("concurrency", [1, 2, 3, 7])
def test_no_more_invocations_run_concurrently_than_the_maximum(concurrency: int):
    """In simulated time; with enough messages, the maximum is reached."""
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


def test_the_duration_of_an_invocation_may_depend_on_its_event():
    """In simulated seconds."""
    assert times(simulate(done, *range(12), invocation_seconds=lambda event: len(event["Records"]) * 2).deliveries) == [
        (0, 20),
        (0, 4),
    ]


# --- Timeouts and throttling.


def test_after_a_timeout_the_whole_batch_is_redelivered():
    """Including the messages that were completed."""
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
    """The error comes after the timeout."""

    def handler(event: Event, context: Any) -> None:
        raise ValueError

    (delivery,) = simulate(handler, 0, invocation_seconds=31, function_timeout=30, max_receive_count=1).deliveries
    assert delivery.invocation == Errored("timeout", "timed out after 30 s")


def test_a_function_that_always_times_out_dead_letters_every_message():
    """Each delivery counts as a receive."""
    simulator = simulate(done, *range(4), invocation_seconds=math.inf, max_receive_count=3)
    assert len(simulator.deliveries) == 3
    assert len(dead(simulator)) == 4


def test_a_throttled_batch_is_redelivered_and_its_handler_does_not_run():
    """The delivery counts as a receive."""
    ran = []

    def handler(event: Event, context: Any) -> None:
        ran.append(ids_of(event))

    simulator = simulate(handler, 0, 1, throttled=1, max_receive_count=3)
    deliveries = simulator.deliveries
    assert ran == []
    assert counts(deliveries) == [[1, 1], [2, 2], [3, 3]]
    assert {delivery.invocation for delivery in deliveries} == {Errored("throttled", "no concurrency was available")}
    assert dead(simulator) == ["message-0", "message-1"]


def test_some_batches_are_throttled():
    """About the configured share of them."""
    simulator = Simulator(done, batch_size=1, throttled=0.5, max_receive_count=None)
    simulator.send(*range(400))
    throttled = sum(isinstance(delivery.invocation, Errored) for delivery in simulator.run())
    assert 0.4 < throttled / len(simulator.deliveries) < 0.6
    assert len(acknowledged(simulator)) == 400
