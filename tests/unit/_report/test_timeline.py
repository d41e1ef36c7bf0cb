"""The timeline of a run."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drawn_runs import DrawnRun, details_of
from fanfold._jobs.run_columns import SegmentEnd, SegmentPart
from fanfold._report.charts import TimeAxis
from fanfold._report.columns import Columns, short
from fanfold._report.timeline import BINS, MAX_BARS, MAX_ROWS, lanes_of, timeline


def end_of(segment: int, began: float, seconds: float, environment: str | None) -> SegmentEnd:
    """Return a segment that is done in one part."""
    return SegmentEnd(segment, 0, began, began + seconds, seconds, 1, 1, None, environment, None)


def drawn(ends: list[SegmentEnd], begin: float = 0.0, end: float = 100.0):
    """Return the timeline of ended segments."""
    columns = Columns.of(ends, [])
    return timeline(columns, columns.with_begin(range(len(columns))), TimeAxis(begin, end))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), min_size=1, max_size=30))
def test_bars_of_one_lane_do_not_overlap(spans: list[tuple[float, float]]):
    """A lane is used again only when its last bar has ended."""
    columns = Columns.of([end_of(n, began, seconds, "a") for n, (began, seconds) in enumerate(spans)], [])
    rows = columns.with_begin(range(len(columns)))
    by_lane: dict[int, list[tuple[float, float]]] = {}
    for row, lane in zip(rows, lanes_of(columns, rows), strict=True):
        by_lane.setdefault(lane, []).append((columns.began[row], columns.ended[row]))
    assert all(before[1] <= after[0] for lane in by_lane.values() for before, after in pairwise(lane))


def test_each_part_of_a_continued_segment_has_a_bar_where_it_ran():
    """Only the last one counts as an end."""
    parts = [SegmentPart(0, 0, number, 10.0 * number, 5.0, "a") for number in (1, 2)]
    columns = Columns.of([SegmentEnd(0, 0, 30.0, 32.0, 12.0, 1, 3, 7, "b", None)], [], parts)
    first, second = timeline(columns, columns.with_begin(range(3)), TimeAxis(0.0, 100.0)).rows
    assert [(bar.left, bar.width, bar.style) for bar in first.bars] == [(10, 5, "part"), (20, 5, "part")]
    assert first.bars[0].tooltip == "segment 0: continued, from 10 s for 5.0 s, part 1"
    assert second.bars[0].tooltip == "segment 0: done, from 30 s for 2.0 s, 3 parts, 7 items"
    assert (first.figures[0], second.figures[0]) == ("0", "1")


def test_a_few_segments_have_a_bar_each_in_the_row_of_their_environment():
    """With all numbers in the tooltip."""
    first, second = drawn([end_of(0, 0, 50, "x/[1]abc"), end_of(1, 25, 50, "x/[1]abc"), end_of(2, 60, 20, None)]).rows
    assert (first.label, first.lanes, second.lanes) == ("abc", 2, 1)
    assert [(bar.left, bar.width, bar.lane) for bar in first.bars] == [(0, 50, 0), (25, 50, 1)]
    assert second.bars[0].tooltip == "segment 2: done, from 1 min for 20 s"
    assert first.summary == "x/[1]abc: 2 ended, 0 failed attempts, 0 s to 1 min 15 s, 1.3 in flight on average"
    assert second.name == "unknown execution environment"


async def test_a_tooltip_states_attempts_parts_and_items():
    """Of a failed attempt, its number."""
    run = DrawnRun(3, failed={1: "KeyError: 'carrier'"}, hops={0: 2}, environments=1)
    details = await details_of(run)
    columns = Columns.of(details.ends(), details.attempts())
    (row,) = timeline(
        columns, columns.with_begin(columns.of_generation(0)), TimeAxis(1_790_000_000.0, 1_790_000_010.0)
    ).rows
    texts = sorted(re.sub(r"from .* for [^,]*", "…", bar.tooltip) for bar in row.bars)
    assert texts[0].startswith("segment 0: done, …, 2 attempts, 3 parts, ")
    assert texts[1:5] == [f"segment 1: failed attempt, …, attempt {number}" for number in (1, 2, 3, 4)]
    assert texts[5] == "segment 1: failed permanently, …, 5 attempts"
    assert [bar.style for bar in row.bars].count("failed") == 1


def test_many_segments_are_shades_in_at_most_a_few_rows():
    """Neighbors of one shade are one part of a path, so the size is bounded."""
    many = [end_of(n, n / 10, 1.0 + n % 3, f"environment-{n % 100}") for n in range(MAX_BARS + 1)]
    picture = drawn(many)
    assert len(picture.rows) == MAX_ROWS
    assert all(not row.bars and row.shades for row in picture.rows)
    assert sum(len(path) for row in picture.rows for path in row.shades.values()) < MAX_ROWS * BINS * 20
    assert "Each row stands for up to 5 execution environments." in picture.note
    assert {style for row in picture.rows for style in row.shades} <= {f"shade{n}" for n in range(1, 6)}


def test_a_cell_is_as_dark_as_it_is_busy():
    """The time of a segment is divided among the cells that it spans."""
    half = 100 / BINS / 2
    ends = [end_of(0, 0.0, 100.0, "a")] + [end_of(n, half, half / MAX_BARS, "b") for n in range(MAX_BARS)]
    full, other = drawn(ends).rows
    assert full.shades == {"shade5": f"M0 0h{BINS}V10h-{BINS}z"}
    assert list(other.shades) in (["shade2"], ["shade3"])


async def test_failures_are_marked_at_the_bottom_of_their_cell():
    """Of attempts, too."""
    details = await details_of(DrawnRun(MAX_BARS * 2, failing={7: "KeyError: 'carrier'"}))
    columns = Columns.of(details.ends(), details.attempts())
    rows = columns.with_begin(columns.of_generation(0))
    picture = timeline(columns, rows, TimeAxis(1_790_000_000.0, 1_790_000_400.0))
    assert [row.shades["failed"].startswith("M0 7h1V10") for row in picture.rows if "failed" in row.shades] == [True]


def test_a_failure_without_attempts_has_no_bar():
    """It is known only when the dead-letter function recorded it."""
    failed = SegmentEnd(0, 0, None, 5.0, None, 5, 1, None, None, "killed")
    columns = Columns.of([failed, end_of(1, 0, 5, "a")], [])
    assert columns.of_generation(0) == [0, 1]
    assert columns.with_begin([0, 1]) == [1]


def test_without_times_there_are_no_rows():
    """For a run of an earlier version."""
    assert drawn([]).rows == ()


def test_the_short_name_of_an_environment_distinguishes_it():
    """Log streams begin with a date and a version."""
    assert short("2026/11/29/[$LATEST]0123456789abcdef") == "0123456789"
    assert short("pid-12") == "pid-12"
