"""How many batches a mapping processes concurrently, and how fast its pollers read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._replay.scaling import (
    Growth,
    ManagedInstances,
    Pollers,
    fixed_scaling,
    provisioned_scaling,
    standard_scaling,
)
from fanfold._replay.simulator import Simulator
from fanfold.errors import ConfigurationError
from simulated import done, max_concurrent, simulate

MB = 1_048_576
MB_BODY = 1_048_000


@pytest.mark.parametrize(
    ("scaling", "concurrency"),
    [
        (standard_scaling(), {0: 5, 1: 10, 60: 305, 249: 1_250, 1_000: 1_250}),
        (standard_scaling(8), {0: 5, 0.2: 6, 1: 8, 60: 8}),
        (standard_scaling(2), {0: 2, 60: 2}),
        (provisioned_scaling(Pollers()), {0: 20, 60: 1_020, 120: 2_000, 1_000: 2_000}),
        (provisioned_scaling(Pollers(200, 10_000)), {0: 2_000, 60: 3_000, 2_000: 20_000}),
        (fixed_scaling(7), {0: 7, 60: 7}),
        (ManagedInstances(), {0: 48, 124: 48, 125: 64, 300: 96, 600: 192, 10**6: 240_000}),
        (ManagedInstances(10, environments=2, maximum_environments=5), {0: 20, 300: 40, 600: 50}),
    ],
)
def test_a_mapping_and_its_function_scale_by_the_published_rates(scaling: Growth, concurrency: dict[float, int]):
    """Standard: 5, +300 per minute. Provisioned: 10 per poller, +1,000 per minute. Managed: twice as many in 300 s."""
    assert {seconds: scaling.concurrency(seconds) for seconds in concurrency} == concurrency


def test_a_concurrency_is_reached_at_its_time_or_never():
    """300 per minute are one each 0.2 s."""
    assert [standard_scaling(20).seconds_until(concurrency) for concurrency in (5, 6, 20, 21)] == [0, 0.2, 3, math.inf]


@pytest.mark.parametrize(
    ("records", "size_bytes", "seconds", "expected"),
    [
        (10, 1_000, 0, 0.05),  # one call of ten per second and poller, with two pollers
        (10_000, 1_000, 0, 50),
        (6, 6 * MB, 0, 3),
        (6, 6 * MB, 10.8, 0.3),  # 200 concurrent batches: 20 pollers
    ],
)
def test_provisioned_pollers_read_at_a_limited_rate(records: int, size_bytes: int, seconds: float, expected: float):
    """Each reads 1 MB per second, and makes ten calls per second."""
    scaling = provisioned_scaling(Pollers())
    assert scaling.seconds_to_read(records, size_bytes, seconds) == pytest.approx(expected)
    assert standard_scaling().seconds_to_read(records, size_bytes, seconds) == 0


@pytest.mark.parametrize(
    ("minimum", "maximum", "error"),
    [
        (1, 200, "MinimumPollers must be an integer from 2 to 200, not 1"),
        (201, 300, "MinimumPollers must be an integer from 2 to 200, not 201"),
        (2, 1, "MaximumPollers must be an integer from 2 to 10,000, not 1"),
        (2, 10_001, "MaximumPollers must be an integer from 2 to 10,000, not 10001"),
        (2, 2.0, "MaximumPollers must be an integer from 2 to 10,000, not 2.0"),
        (20, 10, "MinimumPollers must be at most MaximumPollers, 10, not 20"),
    ],
)
def test_pollers_that_aws_would_reject_are_refused(minimum: int, maximum: int, error: str):
    """The error names the property of the mapping."""
    with pytest.raises(ConfigurationError) as raised:
        Pollers(minimum, maximum)
    assert str(raised.value) == error


pollers = st.builds(lambda least, more: Pollers(least, least + more), st.integers(2, 200), st.integers(0, 9_000))
scalings = (
    st.builds(standard_scaling, st.none() | st.integers(2, 1_000))
    | st.builds(fixed_scaling, st.integers(1, 2_000))
    | st.builds(provisioned_scaling, pollers)
    | st.builds(
        lambda processes, least, more: ManagedInstances(processes, least, least + more),
        st.integers(1, 100),
        st.integers(1, 50),
        st.integers(0, 100),
    )
)


@given(scalings, st.floats(0, 10_000), st.integers(1, 25_000))
def test_the_time_until_a_concurrency_is_reached_is_exact(scaling: Growth, seconds: float, wanted: int):
    """Before it, fewer batches are processed; the concurrency never decreases, and never exceeds its maximum."""
    reached = scaling.seconds_until(wanted)
    if math.isinf(reached):
        assert wanted > scaling.concurrency(1e9)
    else:
        assert scaling.concurrency(reached) >= wanted
        assert reached == 0 or scaling.concurrency(reached * 0.99) < wanted
    assert scaling.concurrency(0) <= scaling.concurrency(seconds) <= scaling.concurrency(seconds + 1)


# --- In the simulator.


def test_a_simulated_mapping_adds_invocations_while_messages_are_available():
    """Five at first, and five more per second: a batch of 10 s takes one slot."""
    simulator = simulate(done, *range(200), batch_size=1, scales=True, invocation_seconds=10, visibility_timeout=60)
    starts = [delivery.began_at for delivery in simulator.deliveries]
    assert starts[:5] == [0] * 5
    assert starts[5:10] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert len([start for start in starts if start < 10]) == 54
    assert max_concurrent(simulator.deliveries) <= standard_scaling().concurrency(starts[-1])


def test_a_simulated_mapping_scales_back_when_no_message_is_available():
    """The next messages find its initial concurrency."""
    with Simulator(done, batch_size=1, scales=True, invocation_seconds=10, visibility_timeout=60) as simulator:
        simulator.send(*range(30))
        simulator.run()
        simulator.clock.advance(100)
        began = simulator.clock.now
        simulator.send(*range(6))
        simulator.run()
    assert [delivery.began_at - began for delivery in simulator.deliveries[30:]] == pytest.approx([0] * 5 + [0.2])


def test_simulated_pollers_limit_the_throughput():
    """Two pollers read 2 MB per second: ten megabytes take five seconds, although no invocation takes any time."""
    bodies = ["x" * MB_BODY for _ in range(10)]
    simulator = simulate(done, *bodies, batch_size=1, pollers=Pollers(2, 2), invocation_seconds=0)
    assert simulator.deliveries[-1].began_at == pytest.approx(4.5, rel=0.01)
    assert len(simulator.queue) == 0


def test_simulated_pollers_run_ten_batches_each():
    """Two pollers run twenty, and a third is not added if two is the maximum."""
    settings = {"batch_size": 1, "invocation_seconds": 30, "function_timeout": 60, "visibility_timeout": 360}
    simulator = simulate(done, *range(100), pollers=Pollers(2, 2), **settings)
    assert max_concurrent(simulator.deliveries) == 20


def test_a_function_on_managed_instances_is_throttled_until_it_has_grown():
    """Two invocations at first, four after five minutes: batches wait within their visibility timeout."""
    settings = {"batch_size": 1, "invocation_seconds": 100, "function_timeout": 900, "visibility_timeout": 5_400}
    instances = ManagedInstances(1, environments=2, maximum_environments=4)
    simulator = simulate(done, *range(12), maximum_concurrency=10, managed_instances=instances, **settings)
    starts = [delivery.began_at for delivery in simulator.deliveries]
    third = 300 * math.log2(1.5)
    assert starts == pytest.approx([0, 0, 100, 100, third, 200, 200, third + 100, 300, 300, 300, third + 200])
    assert max_concurrent(simulator.deliveries) == 4


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ((0,), "processes must be an integer from 1 to 1,600, not 0"),
        ((16, 0), "environments must be an integer from 1 to 15,000, not 0"),
        ((16, 5, 4), "maximum_environments must be an integer from 5 to 15,000, not 4"),
        ((16, 5, 15_001), "maximum_environments must be an integer from 5 to 15,000, not 15001"),
    ],
)
def test_managed_instances_that_aws_would_reject_are_refused(values: tuple[int, ...], error: str):
    """The error names the value."""
    with pytest.raises(ConfigurationError) as raised:
        ManagedInstances(*values)
    assert str(raised.value) == error


def test_managed_instances_exclude_a_reserved_concurrency():
    """They have a maximum number of execution environments instead."""
    with pytest.raises(ConfigurationError, match="reserved_concurrency must be None with managed_instances, not 5"):
        Simulator(done, managed_instances=ManagedInstances(), reserved_concurrency=5)


def test_pollers_exclude_a_maximum_concurrency():
    """AWS accepts only one of them."""
    with pytest.raises(ConfigurationError, match="maximum_concurrency must be None with pollers, not 5"):
        Simulator(done, pollers=Pollers(), maximum_concurrency=5)
