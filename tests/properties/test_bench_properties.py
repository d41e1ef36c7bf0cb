"""Laws of what is decided on cells, and of estimates."""

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
    """Cells of different settings, some of them out of memory."""
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
def test_no_cell_that_does_the_work_in_time_is_cheaper_than_the_cheapest(cells: list[Cell], within: float | None):
    """And it was measured, does the work, and is in time; ties are all that differ from it by no more than noise."""
    choice = cheapest(cells, within)
    fitting = [each for each in comparable(cells) if meets(each, within)]
    assert (choice is None) == (not fitting)
    if choice is None:
        return
    assert choice.best in fitting
    assert choice.best.dollars_per_million == min(each.dollars_per_million for each in fitting)
    for each in fitting:
        noise = max(each.tolerance, choice.best.tolerance)
        same = tied(each.dollars_per_million, choice.best.dollars_per_million, noise)
        assert (each.setting in choice.settings) == same


@given(sweeps())
def test_the_order_of_the_cells_does_not_matter(cells: list[Cell]):
    """A sweep is a set."""
    turned = cells[::-1]
    assert (cheapest(cells), fastest(cells), knee(cells)) == (cheapest(turned), fastest(turned), knee(turned))
    assert pareto(cells) == pareto(turned)


@given(sweeps())
def test_every_cell_is_beaten_by_the_front_or_in_it(cells: list[Cell]):
    """The front holds the cheapest and the fastest; the knee is in it."""
    front = pareto(cells)
    for each in comparable(cells):
        assert any(
            one.dollars_per_million <= each.dollars_per_million and one.records_per_second >= each.records_per_second
            for one in front
        )
    bend = knee(cells)
    assert bend is None or bend in front[1:-1]


@given(sweeps(), positive)
def test_looser_times_never_cost_more(cells: list[Cell], within: float):
    """More time allowed, no dearer choice."""
    tight, loose = cheapest(cells, within), cheapest(cells, within * 2)
    if tight is not None:
        assert loose is not None
        assert loose.best.dollars_per_million <= tight.best.dollars_per_million


@given(sweeps(), sweeps())
def test_agreement_is_the_same_both_ways(one: list[Cell], other: list[Cell]):
    """And every sweep agrees with itself."""
    first, second = cheapest(one), cheapest(other)
    assert agreement(first, second).kind == agreement(second, first).kind
    assert agreement(first, first).kind == "agree"


@given(sweeps())
def test_what_is_enough_is_above_what_was_too_little(cells: list[Cell]):
    """For every concurrency, each once."""
    rows = frontier(cells)
    assert [row.concurrency for row in rows] == sorted({each.setting.concurrency for each in cells})
    for row in rows:
        assert row.killed_at_mb is None or row.fits_from_mb is None or row.fits_from_mb > row.killed_at_mb


axes = st.lists(st.integers(1, 300), unique=True, min_size=1, max_size=7).map(sorted)


@given(axes, axes, st.data())
def test_a_surface_with_one_valley_is_searched_to_its_ground(
    concurrencies: list[int], memories: list[int], data: st.DataObject
):
    """Whatever the valley's place, the search ends, measures nothing twice, and finds the cheapest cell."""
    place = data.draw(st.sampled_from(range(len(concurrencies)))), data.draw(st.sampled_from(range(len(memories))))

    def measured(setting: Setting) -> Cell:
        across = abs(concurrencies.index(setting.concurrency) - place[0])
        along = abs(memories.index(setting.memory_mb) - place[1])
        return cell(setting.concurrency, setting.memory_mb, cost=1.0 + across**2 + along**2)

    known: list[Cell] = []
    while wanted := next_settings(concurrencies, memories, known):
        assert not {each.setting for each in known} & set(wanted)
        known += [measured(setting) for setting in wanted]
    best = cheapest(known)
    assert best is not None
    assert best.best.dollars_per_million == 1.0
    assert {each.setting for each in known} <= {Setting(*pair) for pair in product(concurrencies, memories)}


rates = st.builds(
    Rates, st.integers(1, 10_000), st.floats(0.01, 900), st.sampled_from((128, 1769, 10_240)), st.floats(0, 0.9)
)
backlogs = st.builds(
    Backlog, st.integers(0, 10**9), st.integers(1, 1_000_000), st.none() | st.integers(2, 1_000), st.integers(1, 5_000),
    st.booleans(),
)  # fmt: skip


@given(rates, backlogs)
def test_an_estimate_keeps_every_quota_and_does_all_the_work(rate: Rates, backlog: Backlog):
    """Invocations at once stay below each limit, and time times invocations is at least the work."""
    found = estimate(rate, backlog, PRICES)
    assert found.batches * rate.records * (1 - rate.failed_share) >= backlog.records * (1 - 1e-9)
    assert found.concurrency <= min(1_250, backlog.account_concurrency, backlog.maximum_concurrency or 1_250)
    assert found.concurrency <= max(1, 120_000 // rate.records)
    work = found.batches * rate.seconds
    assert found.seconds * max(1, found.concurrency + 1) >= work * (1 - 1e-9)
    assert math.isfinite(found.seconds)


@given(rates, backlogs, st.integers(1, 10**8))
def test_more_records_never_take_less(rate: Rates, backlog: Backlog, more: int):
    """Neither time nor money."""
    larger = Backlog(backlog.records + more, backlog.record_bytes, backlog.maximum_concurrency,
                     backlog.account_concurrency, backlog.scales)  # fmt: skip
    before, after = estimate(rate, backlog, PRICES), estimate(rate, larger, PRICES)
    assert after.seconds >= before.seconds - 1e-6
    assert after.lambda_dollars >= before.lambda_dollars * (1 - 1e-9)
    assert after.sqs_dollars >= before.sqs_dollars
