"""How many segments ended when, as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fanfold._base.readable import duration_text
from fanfold._report.charts import Chart, TimeAxis, columns_of
from fanfold._report.columns import KINDS, PART, STYLES, Columns

BINS: Final = 60
_UNITS: Final = ((1, "s"), (60, "min"), (3_600, "h"))


def throughput(columns: Columns, rows: Sequence[int], axis: TimeAxis) -> Chart:
    """Return a chart of the ended segments and the failed deliveries over time."""
    counts = [[0, 0, 0] for _ in range(BINS)]
    for row in (row for row in rows if columns.kind[row] != PART):
        counts[axis.index(columns.ended[row], BINS)][columns.kind[row]] += 1
    per_bin = axis.seconds / BINS
    highest = max(counts, key=lambda bin_counts: bin_counts[0])[0] / per_bin
    total = sum(bin_counts[0] for bin_counts in counts)

    def when(number: int) -> str:
        return f"{_offset(axis, number)} to {_offset(axis, number + 1)}"

    def tooltip(number: int) -> str:
        named = [f"{count:,} {kind}" for kind, count in zip(KINDS[:PART], counts[number], strict=True) if count]
        return f"{when(number)}: {', '.join(named)}"

    return Chart(
        title="Throughput",
        summary=f"{total:,} segments done in {duration_text(axis.seconds)}: {rate_text(total / axis.seconds)} on "
        f"average, at most {rate_text(highest)} in {duration_text(per_bin)}.",
        columns=columns_of(counts, STYLES[:PART], tooltip),
        ticks=axis.ticks,
        top=f"{max(map(sum, counts)):,} in {duration_text(per_bin)}",
        header=("time", *KINDS[:PART]),
        rows=[
            [when(n), *(f"{count:,}" for count in bin_counts)] for n, bin_counts in enumerate(counts) if any(bin_counts)
        ],
    )


def rate_text(per_second: float) -> str:
    """Return a rate as text, per second or, if it is low, per minute or hour."""
    seconds, name = next((unit for unit in _UNITS if per_second * unit[0] >= 1), _UNITS[-1])
    rate = per_second * seconds
    return f"{rate:,.0f}/{name}" if rate >= 10 else f"{rate:.1f}/{name}"  # noqa: PLR2004 - two digits


def _offset(axis: TimeAxis, number: int) -> str:
    return duration_text(axis.edge(number, BINS))
