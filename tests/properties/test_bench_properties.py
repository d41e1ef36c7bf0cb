"""Properties of the decisions on cells, and of estimates."""

import functools
import math
from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cells import PRICES, cell, dead
from fanfold._replay.mapping import Returned
from fanfold._replay.scaling import ManagedInstances, Pollers
from fanfold._replay.simulator import Simulator
from fanfold.bench.cells import Cell, Setting
from fanfold.bench.decide import agreement, cheapest, comparable, fastest, frontier, knee, meets, pareto, tied
from fanfold.bench.estimate import Backlog, Rates, against_the_simulator, estimate
from fanfold.bench.sweep import next_settings
from fanfold.testing import make_fair_record

positive = st.floats(0.001, 1e6)
cell_settings = st.tuples(st.integers(1, 500), st.sampled_from((128, 256, 512, 1024, 1769)))


@st.composite
def sweeps(draw: st.DrawFn) -> list[Cell]:
    """Return cells with distinct settings; some of them ran out of memory."""
    pairs = draw(st.lists(cell_settings, unique=True, max_size=12))
    return [
        dead(*pair)
        if draw(st.booleans())
        else cell(
            *pair,
            speed=draw(positive),
            cost=draw(positive),
            tolerance=draw(st.floats(0.02, 0.5)),
            batch_p95=draw(positive),
            failed=draw(st.sampled_from((0.0, 0.01))),
        )
        for pair in pairs
    ]


@given(sweeps(), st.none() | positive)
def test_the_cheapest_cell_is_the_cheapest_of_those_that_meet_the_requirements(cells: list[Cell], within: float | None):
    """The choice was measured and meets the requirements; its ties differ from it by no more than noise."""
    choice = cheapest(cells, within)
    fitting = [candidate for candidate in comparable(cells) if meets(candidate, within)]
    assert (choice is None) == (not fitting)
    if choice is None:
        return
    assert choice.best in fitting
    assert choice.best.dollars_per_million == min(candidate.dollars_per_million for candidate in fitting)
    for candidate in fitting:
        noise = max(candidate.tolerance, choice.best.tolerance)
        is_tied = tied(candidate.dollars_per_million, choice.best.dollars_per_million, noise)
        assert (candidate.setting in choice.settings) == is_tied


@given(sweeps())
def test_the_order_of_the_cells_does_not_matter(cells: list[Cell]):
    """A sweep is an unordered set of cells."""
    reverse = cells[::-1]
    assert (cheapest(cells), fastest(cells), knee(cells)) == (cheapest(reverse), fastest(reverse), knee(reverse))
    assert pareto(cells) == pareto(reverse)


@given(sweeps())
def test_every_cell_is_on_the_front_or_dominated_by_it(cells: list[Cell]):
    """The knee is an inner cell of the front."""
    front = pareto(cells)
    for candidate in comparable(cells):
        assert any(
            member.dollars_per_million <= candidate.dollars_per_million
            and member.records_per_second >= candidate.records_per_second
            for member in front
        )
    bend = knee(cells)
    assert bend is None or bend in front[1:-1]


@given(sweeps(), positive)
def test_a_longer_time_limit_never_costs_more(cells: list[Cell], within: float):
    """The choice under a longer time limit is at most as expensive."""
    tight, loose = cheapest(cells, within), cheapest(cells, within * 2)
    if tight is not None:
        assert loose is not None
        assert loose.best.dollars_per_million <= tight.best.dollars_per_million


@given(sweeps(), sweeps())
def test_agreement_is_symmetric(sweep: list[Cell], other: list[Cell]):
    """Every sweep agrees with itself."""
    first, second = cheapest(sweep), cheapest(other)
    assert agreement(first, second).kind == agreement(second, first).kind
    assert agreement(first, first).kind == "agree"


@given(sweeps())
def test_sufficient_memory_is_above_insufficient_memory(cells: list[Cell]):
    """There is one row for every concurrency."""
    rows = frontier(cells)
    assert [row.concurrency for row in rows] == sorted({measured.setting.concurrency for measured in cells})
    for row in rows:
        assert row.killed_at_mb is None or row.fits_from_mb is None or row.fits_from_mb > row.killed_at_mb


axes = st.lists(st.integers(1, 300), unique=True, min_size=1, max_size=7).map(sorted)


@given(axes, axes, st.data())
def test_the_search_finds_the_minimum_of_a_unimodal_surface(
    concurrencies: list[int], memories: list[int], data: st.DataObject
):
    """The search ends, measures no setting twice, and finds the cheapest cell at any position."""
    minimum = data.draw(st.sampled_from(range(len(concurrencies)))), data.draw(st.sampled_from(range(len(memories))))

    def measured(setting: Setting) -> Cell:
        across = abs(concurrencies.index(setting.concurrency) - minimum[0])
        along = abs(memories.index(setting.memory_mb) - minimum[1])
        return cell(setting.concurrency, setting.memory_mb, cost=1.0 + across**2 + along**2)

    known: list[Cell] = []
    while chosen := next_settings(concurrencies, memories, known):
        assert not {known_cell.setting for known_cell in known} & set(chosen)
        known += [measured(setting) for setting in chosen]
    best = cheapest(known)
    assert best is not None
    assert best.best.dollars_per_million == 1.0
    assert {known_cell.setting for known_cell in known} <= {Setting(*pair) for pair in product(concurrencies, memories)}


rates = st.builds(
    Rates, st.integers(1, 10_000), st.floats(0.01, 900), st.sampled_from((128, 1769, 10_240)), st.floats(0, 0.9)
)
pollers = st.builds(lambda least, more: Pollers(least, least + more), st.integers(2, 200), st.integers(0, 200))
managed = st.builds(
    lambda processes, least, more: ManagedInstances(processes, least, least + more),
    st.integers(1, 16),
    st.integers(1, 10),
    st.integers(0, 50),
)


@st.composite
def backlogs(draw: st.DrawFn, records: st.SearchStrategy[int]) -> Backlog:
    """Return a backlog in standard or provisioned mode, of an ordinary function or one on Managed Instances."""
    provisioned = draw(st.none() | pollers)
    return Backlog(
        draw(records),
        draw(st.integers(1, 6_000)),
        maximum_concurrency=draw(st.none() | st.integers(2, 1_000)) if provisioned is None else None,
        account_concurrency=draw(st.integers(1, 5_000)),
        pollers=provisioned,
        instances=draw(st.none() | managed),
    )


@given(rates, backlogs(st.integers(0, 10**9)))
def test_an_estimate_keeps_every_quota_and_does_all_the_work(rate: Rates, backlog: Backlog):
    """Concurrent invocations stay below each quota, and time multiplied by invocations covers the work."""
    estimated = estimate(rate, backlog, PRICES)
    assert estimated.batches * rate.records * (1 - rate.failed_share) >= backlog.records * (1 - 1e-9)
    mapping = 1_250 if backlog.pollers is None else backlog.pollers.maximum * 10
    function = backlog.account_concurrency
    if backlog.instances is not None:
        function = backlog.instances.maximum_environments * backlog.instances.processes
    assert estimated.concurrency <= min(mapping, function, backlog.maximum_concurrency or mapping)
    assert estimated.concurrency <= max(1, 120_000 // rate.records)
    work = estimated.batches * rate.seconds
    assert estimated.seconds * max(1, estimated.concurrency + 1) >= work * (1 - 1e-9)
    assert math.isfinite(estimated.seconds)


@given(rates, backlogs(st.integers(0, 10**9)), st.integers(1, 10**8))
def test_more_records_never_take_less(rate: Rates, backlog: Backlog, more: int):
    """Neither the time nor the cost decreases."""
    larger = replace(backlog, records=backlog.records + more)
    before, after = estimate(rate, backlog, PRICES), estimate(rate, larger, PRICES)
    assert after.seconds >= before.seconds - 1e-6
    assert after.lambda_dollars >= before.lambda_dollars * (1 - 1e-9)
    assert after.sqs_dollars >= before.sqs_dollars


@st.composite
def batch_durations(draw: st.DrawFn) -> tuple[float, ...]:
    """Return durations of a cell's batches: they differ by half of their mean at most."""
    mean = draw(st.sampled_from((0.05, 0.5, 3.0, 20.0, 100.0)))
    return tuple(mean * share for share in draw(st.lists(st.floats(0.5, 1.5), min_size=1, max_size=20)))


@given(st.sampled_from((1, 10, 100, 1_000)), batch_durations(), backlogs(st.integers(1, 10**6)), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_an_estimate_differs_from_the_simulator_by_less_than_15_percent(
    records: int, durations: tuple[float, ...], backlog: Backlog, seed: int
):
    """In standard and in provisioned mode, and on Managed Instances, with any quota.

    A few batches may take as long as the longest one, where the estimate has their mean.
    """
    rate = Rates(records, sum(durations) / len(durations), 512, batch_seconds=durations)
    trial = against_the_simulator(rate, backlog, seed=seed)
    late = abs(trial.simulated_seconds - trial.estimated_seconds)
    assert abs(trial.error) < 0.15 or late <= max(durations) - min(durations)


def quiet_end(records: int, share: float, seconds: float, maximum: int, tenants: int) -> float:
    """Return when the messages of quiet tenants are done on a simulated fair queue whose noisy tenant keeps sending."""
    noisy = round(records * share)
    with Simulator(
        invoke=lambda _: Returned("null"), maximum_concurrency=maximum, scales=True, visibility_timeout=43_200,
        invocation_seconds=seconds, function_timeout=1_800, max_receive_count=None,
    ) as simulator:  # fmt: skip
        simulator.send(records=[make_fair_record(0, tenant="noisy", message_id=f"n{n}") for n in range(noisy)])
        quiet = [make_fair_record(0, tenant=f"{n % tenants}", message_id=f"q{n}") for n in range(records - noisy)]
        simulator.send(records=quiet)
        for number in range(200):
            record = make_fair_record(0, tenant="noisy", message_id=f"later{number}")
            simulator.at(100.0 * number, functools.partial(simulator.send, records=[record]))
        deliveries = simulator.run(most_deliveries=records // 10)
    return max(
        delivery.ended_at
        for delivery in deliveries
        if any(message.message_id.startswith("q") for message in delivery.messages)
    )


@given(st.integers(100, 2_000), st.floats(0.1, 0.98), st.sampled_from((0.5, 5.0, 30.0)), st.integers(3, 50),
       st.integers(15, 100))  # fmt: skip
@settings(deadline=None, max_examples=20)
def test_the_time_of_quiet_tenants_differs_from_the_simulator_by_less_than_15_percent(
    records: int, share: float, seconds: float, maximum: int, tenants: int
):
    """Or by two batches: it depends on chance which of the last ones have a message of a quiet tenant."""
    backlog = Backlog(records, maximum_concurrency=maximum, noisy_share=share)
    estimated = estimate(Rates(10, seconds, 512), backlog, PRICES).quiet_seconds
    simulated = quiet_end(records, share, seconds, maximum, tenants)
    assert estimated is not None
    assert abs(estimated - simulated) <= max(0.15 * simulated, 2 * seconds)
