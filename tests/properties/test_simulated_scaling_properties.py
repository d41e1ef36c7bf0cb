"""The simulator's scaling, throttling and switches, compared with small models."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold._replay.scaling import Pollers
from fanfold._replay.simulator import Simulator
from simulated import acknowledged, done

SECONDS = st.sampled_from([0.0, 0.3, 1.0, 7.0])


def running(simulator: Simulator, now: float) -> int:
    return sum(delivery.began_at <= now < delivery.ended_at for delivery in simulator.deliveries)


@given(
    st.integers(1, 300),
    st.integers(1, 10),
    SECONDS,
    st.none() | st.integers(2, 40) | st.tuples(st.integers(2, 4), st.integers(0, 20)),
)
@settings(deadline=None)
def test_a_backlog_is_processed_at_the_published_rates(
    messages: int, batch_size: int, seconds: float, limit: int | tuple[int, int] | None
):
    """At most 5 batches and 5 more per second, or 10 per poller and 1,000 more per minute; no free slot is unused."""
    pollers = Pollers(limit[0], sum(limit)) if isinstance(limit, tuple) else None
    maximum = limit if isinstance(limit, int) else None
    simulator = Simulator(done, batch_size=batch_size, invocation_seconds=seconds, visibility_timeout=600, scales=True,
                          pollers=pollers, maximum_concurrency=maximum)  # fmt: skip
    simulator.send(*range(messages))
    deliveries = simulator.run()
    first, rate, most = (5, 5.0, maximum or 1_250) if pollers is None else (
        pollers.minimum * 10, 1_000 / 60, pollers.maximum * 10)  # fmt: skip
    assert len(acknowledged(simulator)) == messages
    for delivery in deliveries:
        assert running(simulator, delivery.began_at) <= min(most, first + rate * delivery.began_at + 1e-6)
    if pollers is None:
        last = deliveries[-1].began_at
        for moment in {delivery.ended_at for delivery in deliveries if delivery.ended_at < last}:
            assert running(simulator, moment) >= min(most, int(first + rate * moment - 1e-6))


@given(
    st.integers(1, 60),
    st.integers(0, 5),
    st.integers(1, 8),
    st.sampled_from([1.0, 7.0, 20.0]),
    st.sampled_from([20.0, 60.0]),
)
@settings(deadline=None)
def test_a_throttled_batch_runs_within_its_visibility_timeout_or_uses_up_a_receive(
    messages: int, reserved: int, maximum: int, seconds: float, visibility: float
):
    """A function never exceeds its reserved concurrency; a model predicts how many batches wait too long."""
    calls = []

    def handler(event: Any, context: Any) -> None:
        calls.append(event["Records"][0]["messageId"])

    simulator = Simulator(handler, batch_size=1, invocation_seconds=seconds, visibility_timeout=visibility,
                          reserved_concurrency=reserved, maximum_concurrency=maximum, max_receive_count=3)  # fmt: skip
    simulator.send(*range(messages))
    deliveries = simulator.run()
    for delivery in deliveries:
        assert running(simulator, delivery.began_at) <= reserved
    receives = dict.fromkeys({one.messages[0].message_id for one in deliveries}, 0)
    for delivery in deliveries:
        receives[delivery.messages[0].message_id] += 1
        assert list(delivery.receive_counts) == [receives[delivery.messages[0].message_id]]
    dead = {record.message_id for record in simulator.dead_letters}
    assert set(acknowledged(simulator)) | dead == {f"message-{number}" for number in range(messages)}
    assert all(receives[message] == 3 for message in dead)
    # The slots of the mapping that the function cannot serve wait for (maximum / reserved - 1) invocations.
    if maximum <= reserved or (reserved and -(-maximum // reserved) * seconds <= visibility):
        assert not dead
        assert len(calls) == messages
    if not reserved:
        assert not calls


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=5), st.sampled_from([0.0, 60.0]))
@settings(deadline=None)
def test_a_disabled_mapping_receives_nothing(requests: list[tuple[int, bool]], lag: float):
    """A receive happens only while the last effective request enabled the mapping; nothing is lost meanwhile."""
    simulator = Simulator(done, batch_size=1, maximum_concurrency=2, invocation_seconds=10, switch_seconds=lag)
    simulator.send(*range(40))
    for at, enabled in requests:
        simulator.at(at, simulator.enable if enabled else simulator.disable)
    deliveries = simulator.run()
    ordered = sorted(requests, key=lambda request: request[0])
    for delivery in deliveries:
        effective = [enabled for at, enabled in ordered if at + lag <= delivery.began_at]
        assert not effective or effective[-1]
    if not ordered or ordered[-1][1]:
        assert len(acknowledged(simulator)) == 40
    assert len(acknowledged(simulator)) + len(simulator.queue) == 40
    assert all(message.receive_count == 0 for message in simulator.queue.messages())
