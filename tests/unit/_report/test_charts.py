"""Axes, columns, histograms, and throughput."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn_runs import DrawnRun, details_of
from fanfold._report.charts import MOST_TICKS, TimeAxis, columns_of
from fanfold._report.columns import Columns
from fanfold._report.distribution import distribution
from fanfold._report.throughput import rate_text, throughput

spans = st.floats(0.001, 1e8)


@given(spans, st.floats(0, 1))
def test_a_time_on_the_axis_is_in_the_bin_at_its_position(seconds: float, share: float):
    """Times outside the axis are in the first or the last bin."""
    axis = TimeAxis(1_000.0, 1_000.0 + seconds)
    time = axis.begin + share * axis.seconds
    assert abs(axis.index(time, 10) - axis.percent(time) / 10) <= 1.01
    assert [axis.index(time - seconds - 1, 10), axis.index(time + seconds + 1, 10)] == [0, 9]


@given(spans)
def test_an_axis_has_a_few_ticks_at_equal_distances(seconds: float):
    """The first is at its begin."""
    ticks = TimeAxis(0.0, seconds).ticks
    assert 1 <= len(ticks) <= MOST_TICKS + 1
    assert ticks[0].position == 0
    assert all(0 <= tick.position <= 100.001 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)


def test_a_column_is_as_high_as_its_count_and_a_single_one_is_visible():
    """An empty column is left out."""
    columns = columns_of([[1_000, 0], [0, 0], [0, 1]], ["done", "failed"], lambda number: f"bin {number}")
    assert [(column.left, column.tooltip) for column in columns] == [
        (0.0, "bin 0"),
        (pytest.approx(200 / 3), "bin 2"),
    ]
    (full,), (single,) = (column.parts for column in columns)
    assert (full.style, full.top, full.height) == ("done", 0.0, 100.0)
    assert (single.style, single.height) == ("failed", 1.5)


@given(st.lists(st.integers(0, 10**6) | st.integers(0, 20), min_size=1))
def test_a_histogram_counts_every_value_once(values: list[int]):
    """The facts are those of the values."""
    drawn = distribution("Items", values, str)
    assert drawn is not None
    assert sum(int(row[1].replace(",", "")) for row in drawn.chart.rows) == len(values)
    facts = dict(drawn.facts)
    assert (facts["minimum"], facts["maximum"]) == (str(min(values)), str(max(values)))
    assert facts["p50"] == str(sorted(values)[(len(values) - 1) // 2])


@pytest.mark.parametrize(
    ("values", "first"),
    [([7, 7], "7"), ([1, 2, 4], "1"), ([1.0, 3.0], "1.0 to 1.0833333333333333"), ([1, 100_000], "1.0 to 1.61")],
)
def test_the_bins_of_a_histogram_suit_its_values(values: list[float], first: str):
    """One bin for equal values, one for each integer of a few, equal bins, or bins that grow by a factor."""
    drawn = distribution("Items", values, str)
    assert drawn is not None
    assert drawn.chart.rows[0][0].startswith(first)


def test_without_values_there_is_no_histogram():
    """For example before the first segment has ended."""
    assert distribution("Items", [], str) is None


@pytest.mark.parametrize(
    ("per_second", "text"), [(1_234.5, "1,234/s"), (1.25, "1.2/s"), (0.5, "30/min"), (0.001, "3.6/h"), (0, "0.0/h")]
)
def test_a_low_rate_is_per_minute_or_per_hour(per_second: float, text: str):
    """With about two digits."""
    assert rate_text(per_second) == text


async def test_throughput_counts_every_end_and_every_failed_attempt_once():
    """The table has the same numbers as the columns."""
    details = await details_of(DrawnRun(300, failed={3: "KeyError: 'carrier'"}, failing={7: "OSError: no"}))
    columns = Columns.of(details.ends(), details.attempts())
    rows = columns.of_generation(0)
    begin = min(columns.began[row] for row in rows)
    chart = throughput(columns, rows, TimeAxis(begin, max(columns.ended[row] for row in rows)))
    sums = [sum(int(row[kind]) for row in chart.rows) for kind in (1, 2, 3)]
    assert sums == [298, 1, 5]  # the last attempt of segment 3 is its end
    assert chart.summary.startswith("298 segments done in ")
    assert len(chart.columns) == len(chart.rows)
