"""The longest outage that a queue's settings survive."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from fanfold._breakers import hold_times, window
from fanfold.check.survival import (
    INVISIBLE_SECONDS,
    OPENING_FAILURES,
    OPENING_SPAN_SECONDS,
    OUTAGE_BUDGET_SECONDS,
    QueueSettings,
    last_receive,
    opening_receive,
    with_breaker,
    without_breaker,
)
from fanfold.testing import Simulator

HOUR = 3600


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (QueueSettings(30, 5), (120, "receives")),
        (QueueSettings(30, 1), (0, "receives")),
        (QueueSettings(361, 5, window=1, function_timeout=60), (1444, "receives")),
        (QueueSettings(43_200, 20), (345_600, "retention")),
        (QueueSettings(30, None), (345_600, "retention")),
        (QueueSettings(30, 5, backoff=fanfold.Backoff(base=5, jitter=0)), (5 + 10 + 20 + 40, "receives")),
        (QueueSettings(30, 5, backoff=fanfold.Backoff(base=5)), (37.5, "receives")),  # half of it, with bad luck
        (QueueSettings(30, 4, backoff=fanfold.Backoff(base=60, cap=60, jitter=0)), (180, "receives")),
    ],
)
def test_without_a_breaker_settings_survive_until_the_earliest_last_receive(queue: QueueSettings, expected: Any):
    """The message expires earlier if its retention period ends before."""
    assert without_breaker(queue) == expected


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (QueueSettings(30, 5), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 4), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 3), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 2), (30, "receives")),  # the receive that opens the breaker is the last one
        (QueueSettings(300, 2), (300, "receives")),  # without a backoff, it keeps its visibility timeout
        (QueueSettings(30, 2, backoff=fanfold.Backoff(base=100)), (50, "receives")),
        (QueueSettings(30, 1), (0, "receives")),
        (QueueSettings(10, 3), (11.75 * HOUR, "budget")),
        (QueueSettings(10, 5), (11.75 * HOUR, "budget")),
        (QueueSettings(30, None), (345_600, "retention")),
        (QueueSettings(30, 5, retention=HOUR), (HOUR, "retention")),
        (QueueSettings(30, 5, backoff=fanfold.Backoff(base=5)), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 6, backoff=fanfold.Backoff(base=5)), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 7, backoff=fanfold.Backoff(base=5)), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 5, backoff=fanfold.Backoff(base=60)), (11.75 * HOUR, "budget")),
        (QueueSettings(30, 5, backoff=fanfold.Backoff(base=10)), (11.75 * HOUR, "budget")),
        (QueueSettings(43_200, 5, retention=1_209_600), (11.75 * HOUR, "budget")),  # 48 hours without one
    ],
)
def test_with_a_breaker_settings_survive_its_budget_if_a_receive_is_left_when_it_opens(queue: Any, expected: Any):
    """The message is the only one in its queue, so that the breaker opens as late as possible."""
    assert with_breaker(queue) == expected


@pytest.mark.parametrize(
    ("receives", "budget", "expected"),
    [(3, 23 * HOUR, (11.75 * HOUR, "receives")), (4, 23 * HOUR, (22.75 * HOUR, "budget")), (4, 100, (100, "budget"))],
)
def test_a_receive_keeps_a_message_invisible_for_less_than_twelve_hours(receives: int, budget: float, expected: Any):
    """So a longer budget needs more receives."""
    assert with_breaker(QueueSettings(30, receives), budget) == expected


@pytest.mark.parametrize(
    ("queue", "number"),
    [
        (QueueSettings(30, 5), 2),
        (QueueSettings(29, 5), 3),
        (QueueSettings(10, 5), 4),
        (QueueSettings(5, 5), 4),  # the receive before the last one
        (QueueSettings(5, 6), 5),
        (QueueSettings(10, 3), 2),
        (QueueSettings(10, 1), 2),
        (QueueSettings(30, 9, backoff=fanfold.Backoff(base=5)), 5),
        (QueueSettings(30, None, backoff=fanfold.Backoff(base=30, jitter=0)), 2),
    ],
)
def test_a_single_message_opens_the_breaker_when_its_failures_span_thirty_seconds_or_are_five(
    queue: QueueSettings, number: int
):
    """A short backoff makes this late, but not too late, if there are three receives."""
    assert opening_receive(queue) == number


def test_without_a_dead_letter_queue_there_is_no_last_receive():
    """The message is redelivered until it expires."""
    assert last_receive(QueueSettings(30, None)) == (math.inf, math.inf)


backoffs = st.none() | st.builds(
    fanfold.Backoff,
    base=st.floats(1, 600),
    factor=st.floats(1, 3),
    cap=st.floats(1, 3_600),
    jitter=st.floats(0, 1),
)
queues = st.builds(
    QueueSettings,
    visibility_timeout=st.integers(60, 3_600),
    max_receive_count=st.integers(1, 6),
    retention=st.just(1_209_600),
    window=st.integers(0, 20),
    function_timeout=st.integers(1, 30),
    backoff=backoffs,
)


def test_the_constants_are_those_of_breakers():
    """The check imports no breaker."""
    breaker = fanfold.Breaker("payments", on=OSError)
    constants = (breaker.outage_budget, breaker.failures, window.SPAN_SECONDS, hold_times.MOST_SECONDS)
    assert constants == (OUTAGE_BUDGET_SECONDS, OPENING_FAILURES, OPENING_SPAN_SECONDS, INVISIBLE_SECONDS)


def simulated_ends(
    queue: QueueSettings, outage: float, call_seconds: float, seed: int, breaker: fanfold.Breaker | None = None
) -> tuple[float, int]:
    """Return when the last delivery of a message began, and the number of dead letters.

    Args:
        queue: The settings of the queue and its consumer.
        outage: Simulated seconds for which every call fails.
        call_seconds: Duration of an invocation.
        seed: Seed of the jitter.
        breaker: The breaker of the consumer.
    """

    @fanfold.consumer(backoff=queue.backoff, concurrency=1, breaker=breaker)
    async def handler(order: Any) -> None:
        if simulator.clock.now < outage:
            raise ConnectionError("down")

    simulator = Simulator(
        handler,
        window_seconds=queue.window,
        visibility_timeout=queue.visibility_timeout,
        max_receive_count=queue.max_receive_count,
        function_timeout=queue.function_timeout,
        invocation_seconds=call_seconds,
        seed=seed,
    )
    with simulator:
        simulator.send({"order": 1})
        simulator.run()
        return simulator.deliveries[-1].began_at, len(simulator.dead_letters)


@settings(deadline=None, max_examples=25)
@given(queue=queues, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_simulator_agrees_on_the_last_receive(queue: QueueSettings, share: float, seed: int):
    """In an outage without end, the last delivery is within the bounds; an outage that ends before costs no message."""
    earliest, latest = last_receive(queue)
    call_seconds = share * queue.function_timeout
    last, dead = simulated_ends(queue, math.inf, call_seconds, seed)
    assert earliest - 0.001 <= last <= latest + (queue.max_receive_count or 0)  # SQS has whole seconds
    assert dead == 1
    survived = without_breaker(queue).seconds
    assert simulated_ends(queue, survived, call_seconds, seed)[1] == 0


@settings(deadline=None, max_examples=25)
@given(queue=queues, seed=st.integers(0, 99), budget=st.sampled_from([600, 7_200, OUTAGE_BUDGET_SECONDS]))
def test_the_simulator_agrees_that_a_breaker_survives(queue: QueueSettings, seed: int, budget: float):
    """A single message, which opens the breaker as late as possible, is not dead-lettered."""
    breaker = fanfold.Breaker("payments", on=ConnectionError, outage_budget=budget)
    survived = with_breaker(queue, budget).seconds
    assert simulated_ends(queue, survived, 0.1, seed, breaker)[1] == 0
