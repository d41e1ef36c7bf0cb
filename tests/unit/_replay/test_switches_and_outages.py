"""A mapping that is disabled and enabled, a function with reserved concurrency, and an outage."""

import math
from collections.abc import Callable
from typing import Any

import pytest

import fanfold
from fanfold._replay.mapping import Errored, Switch, is_enabled, polls_from
from fanfold._replay.simulator import Simulator
from fanfold.errors import ConfigurationError
from simulated import Event, acknowledged, batches, counts, dead, done, max_concurrent, simulate, times

# --- Decisions.


def test_a_request_takes_effect_after_its_lag():
    """The mapping polls until then, and polls again after the lag of the next request."""
    switches = [Switch(10, enabled=False, lag_seconds=60), Switch(20, enabled=True, lag_seconds=60)]
    assert [is_enabled(switches, now) for now in (0, 69.9, 70, 79.9, 80)] == [True, True, False, False, True]
    assert [polls_from(switches, now) for now in (0, 70, 75, 80)] == [0, 80, 80, 80]
    assert polls_from(switches[:1], 70) == math.inf


# --- A disabled mapping.


def test_a_disabled_mapping_delivers_what_it_has_received_and_receives_nothing_else():
    """Within the lag, messages are still received; after it, none is, and no receive is used up."""
    simulator = Simulator(done, batch_size=1, maximum_concurrency=1, invocation_seconds=10, switch_seconds=15)
    simulator.send(*range(10))
    simulator.at(5, simulator.disable)
    simulator.run()
    assert times(simulator.deliveries) == [(0, 10), (10, 20)]
    assert [message.receive_count for message in simulator.queue.messages()] == [0] * 8
    simulator.at(100, simulator.enable)
    simulator.run()
    assert simulator.deliveries[2].began_at == 115
    assert len(acknowledged(simulator)) == 10


def test_a_batch_that_is_open_when_the_mapping_stops_polling_is_delivered():
    """At the end of its batching window."""
    simulator = Simulator(done, batch_size=10, window_seconds=20, switch_seconds=5)
    simulator.send(1)
    simulator.disable()
    simulator.at(10, lambda: simulator.send(2))
    simulator.run()
    assert batches(simulator.deliveries) == [["message-0"]]
    assert simulator.deliveries[0].began_at == 20


def test_a_handler_can_disable_its_mapping():
    """The next messages then wait, and use up no receive, however long the outage lasts."""
    simulator: Simulator

    def handler(event: Event, context: Any) -> None:
        if simulator.clock.now < 900:
            simulator.disable()
            raise ConnectionError

    settings = {"max_receive_count": 2, "visibility_timeout": 180, "switch_seconds": 0.0, "maximum_concurrency": 1}
    simulator = Simulator(handler, batch_size=10, **settings)
    simulator.send(*range(100))
    simulator.at(900, simulator.enable)
    simulator.run()
    assert not simulator.dead_letters
    assert len(set(acknowledged(simulator))) == 100


def test_actions_run_in_the_order_of_their_times():
    """An action in the past runs immediately in the next run; actions can add actions."""
    simulator = Simulator(done)
    seen: list[tuple[str, float]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: seen.append((name, simulator.clock.now))

    simulator.at(20, note("second"))
    simulator.at(10, lambda: (note("first")(), simulator.at(5, note("late"))))
    simulator.run()
    assert seen == [("first", 10), ("late", 10), ("second", 20)]
    simulator.at(30, note("never"))
    simulator.run(until=29)
    assert len(seen) == 3


# --- Reserved concurrency.


def test_a_throttled_batch_is_invoked_when_the_function_has_a_free_slot():
    """Within its visibility timeout: Lambda retries, and no receive is used up for nothing."""
    simulator = simulate(done, *range(4), batch_size=1, maximum_concurrency=4, reserved_concurrency=1,
                         invocation_seconds=5, visibility_timeout=60)  # fmt: skip
    assert times(simulator.deliveries) == [(0, 5), (5, 10), (10, 15), (15, 20)]
    assert counts(simulator.deliveries) == [[1]] * 4


def test_messages_are_dead_lettered_without_having_run_if_reserved_concurrency_is_too_low():
    """Each batch that is still throttled at the end of its visibility timeout has used up a receive."""
    ran: list[str] = []

    def handler(event: Event, context: Any) -> None:
        ran.extend(record["messageId"] for record in event["Records"])

    settings = {"batch_size": 1, "invocation_seconds": 30, "visibility_timeout": 30, "max_receive_count": 2}
    simulator = simulate(handler, *range(10), maximum_concurrency=10, reserved_concurrency=1, **settings)
    assert dead(simulator)
    assert not set(dead(simulator)) & set(ran)
    throttled = [one for one in simulator.deliveries if isinstance(one.invocation, Errored)]
    assert {one.invocation.kind for one in throttled} == {"throttled"}  # type: ignore[union-attr]
    assert "the function had no free concurrency" in simulator.dead_letter_queue.messages()[0].history[0]
    assert max_concurrent(simulator.deliveries) == 1


def test_a_maximum_concurrency_within_the_reserved_one_prevents_throttling():
    """The mapping then requests no invocation that the function would refuse."""
    settings = {"batch_size": 1, "invocation_seconds": 30, "visibility_timeout": 30, "max_receive_count": 2}
    simulator = simulate(done, *range(10), maximum_concurrency=1, reserved_concurrency=1, **settings)
    assert len(acknowledged(simulator)) == 10
    assert not simulator.dead_letters


def test_a_function_with_a_reserved_concurrency_of_zero_never_runs():
    """Every message is finally dead-lettered."""
    simulator = simulate(done, *range(3), reserved_concurrency=0, max_receive_count=2, visibility_timeout=30)
    assert sorted(dead(simulator)) == ["message-0", "message-1", "message-2"]
    assert acknowledged(simulator) == []


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"reserved_concurrency": -1}, "reserved_concurrency must be an integer of at least 0, or None, not -1"),
        ({"reserved_concurrency": 1.5}, "reserved_concurrency must be an integer of at least 0, or None, not 1.5"),
        ({"switch_seconds": -1}, "switch_seconds must be a number of seconds of at least 0, not -1"),
        (
            {"reserved_concurrency": 1, "visibility_timeout": 0},
            "visibility_timeout must be above 0 seconds with reserved_concurrency, not 0",
        ),
        (
            {"reserved_concurrency": 0, "max_receive_count": None},
            "reserved_concurrency must be at least 1 without max_receive_count, not 0: the queue would never be empty",
        ),
    ],
)
def test_settings_with_which_a_run_would_not_end_are_refused(settings: dict[str, Any], error: str):
    """So are values out of range."""
    with pytest.raises(ConfigurationError) as raised:
        Simulator(done, **settings)
    assert str(raised.value) == error


# --- An outage.


@pytest.mark.parametrize(("visibility", "receives", "lost"), [(180, 5, True), (300, 5, False), (180, 6, False)])
def test_a_queue_survives_an_outage_if_its_receives_last_longer(visibility: float, receives: int, lost: bool):
    """A failed receive uses up its visibility timeout: five of 180 s end with the outage, a sixth succeeds."""
    simulator: Simulator

    @fanfold.consumer
    async def handler(order: int) -> None:
        if simulator.clock.now < 900:
            raise ConnectionError

    with Simulator(handler, visibility_timeout=visibility, max_receive_count=receives) as simulator:
        simulator.send(*range(20))
        simulator.run()
    assert bool(simulator.dead_letters) == lost
