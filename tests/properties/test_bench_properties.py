"""Properties of the decisions on cells, and of estimates."""

import math
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from bench_cells import PRICES, cell, dead
from fanfold.bench.cells import Cell, Setting
from fanfold.bench.decide import agreement, cheapest, comparable, fastest, frontier, knee, meets, pareto, tied
from fanfold.bench.estimate import Backlog, Rates, estimate
from fanfold.bench.sweep import next_settings

positive = st.floats(0.001, 1e6)
settings = st.tuples(st.integers(1, 500), st.sampled_from((128, 256, 512, 1024, 1769)))


@st.composite
def sweeps(draw: st.DrawFn) -> list[Cell]:
    """Return cells with distinct settings; some of them ran out of memory."""
    pairs = draw(st.lists(settings, unique=True, max_size=12))
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
backlogs = st.builds(
    Backlog, st.integers(0, 10**9), st.integers(1, 1_000_000), st.none() | st.integers(2, 1_000), st.integers(1, 5_000),
    st.booleans(),
)  # fmt: skip


@given(rates, backlogs)
def test_an_estimate_keeps_every_quota_and_does_all_the_work(rate: Rates, backlog: Backlog):
    """Concurrent invocations stay below each quota, and time multiplied by invocations covers the work."""
    estimated = estimate(rate, backlog, PRICES)
    assert estimated.batches * rate.records * (1 - rate.failed_share) >= backlog.records * (1 - 1e-9)
    assert estimated.concurrency <= min(1_250, backlog.account_concurrency, backlog.maximum_concurrency or 1_250)
    assert estimated.concurrency <= max(1, 120_000 // rate.records)
    work = estimated.batches * rate.seconds
    assert estimated.seconds * max(1, estimated.concurrency + 1) >= work * (1 - 1e-9)
    assert math.isfinite(estimated.seconds)


@given(rates, backlogs, st.integers(1, 10**8))
def test_more_records_never_take_less(rate: Rates, backlog: Backlog, more: int):
    """Neither the time nor the cost decreases."""
    larger = Backlog(backlog.records + more, backlog.record_bytes, backlog.maximum_concurrency,
                     backlog.account_concurrency, backlog.scales)  # fmt: skip
    before, after = estimate(rate, backlog, PRICES), estimate(rate, larger, PRICES)
    assert after.seconds >= before.seconds - 1e-6
    assert after.lambda_dollars >= before.lambda_dollars * (1 - 1e-9)
    assert after.sqs_dollars >= before.sqs_dollars
