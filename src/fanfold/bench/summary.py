"""What a sweep found, in sentences: the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fanfold.bench.cells import Cell
from fanfold.bench.decide import Choice, Frontier, Saving
from fanfold.bench.result import Result

_MOST_TIES = 6


def sentences(result: Result) -> list[str]:
    """Return the findings, the recommendation first."""
    found, within = result.findings, result.grid.within_seconds
    lines = [_recommendation(found.cheapest, within, result.cells)]
    if found.saving is not None:
        lines.append(_saving(found.saving))
    if found.fastest is not None:
        best = found.fastest.best
        lines.append(f"Fastest: {best.setting}, {best.records_per_second:,.0f} records/s{_ties(found.fastest)}.")
    if found.knee is not None:
        lines.append(f"Knee: {found.knee.setting}; beyond it more speed costs over-proportionally.")
    if len({setting.memory_mb for setting in found.enough}) > 1:
        lines.append(f"Handlers at once that are enough: {', '.join(map(str, found.enough))}.")
    lines += list(_memory(found.frontier))
    timed_out = [str(cell.setting) for cell in result.cells if cell.end not in {"measured", "out of memory"}]
    if timed_out:
        lines.append(f"Not measured: {'; '.join(timed_out)}; the table says why.")
    return lines


def conditions(result: Result) -> list[str]:
    """Return what a reader has to know of how it was measured."""
    work, machine, prices = result.workload, result.machine, result.prices
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    repeats = max((cell.repeats for cell in result.cells), default=0)
    measured = (
        f"at least {work.seconds:g} s measured in each repeat of a cell, up to {repeats} of them, on {work.where}"
    )
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {machine['python']}, {packages}"
    priced = f"Prices: Lambda {prices.architecture} in {prices.region} as of {prices.as_of}"
    lines = [
        f"{work.records:,} records a batch, {measured}; {result.limits}.",
        f"{where}; {machine['date']}.",
        f"{priced}; duration and requests, without SQS and the free tier.",
    ]
    if not result.complete:
        lines.append("The sweep is not complete: it was interrupted.")
    return [*lines, *result.notes]


def dollars(value: float) -> str:
    """Return a price with three figures that count."""
    if value >= 100:  # noqa: PLR2004 - where cents end to matter
        return f"${value:,.0f}"
    text = f"{value:.3g}"
    return f"${value:.6f}".rstrip("0") if "e" in text else f"${text}"


def figures(cell: Cell) -> dict[str, str]:
    """Return the numbers of a cell as tables show them; a dash for what was not measured."""
    setting, batch, record, cold = cell.setting, cell.batch_seconds, cell.record_seconds, cell.cold_start_seconds
    known = cell.measured
    return {
        "concurrency": str(setting.concurrency),
        "memory": f"{setting.memory_mb:,}",
        "speed": _number(cell.records_per_second if known else None, ",.0f"),
        "tolerance": _number(cell.tolerance if known else None, ".0%"),
        "cost": dollars(cell.dollars_per_million) if known else "-",
        "batch p50": _number(batch.p50 if known and batch else None, ".3f"),
        "batch p95": _number(batch.p95 if known and batch else None, ".3f"),
        "batch max": _number(batch.most if known and batch else None, ".3f"),
        "record p95": _number(record.p95 * 1000 if known and record else None, ".1f"),
        "peak": _number(cell.peak_memory_mb if known else None, ".0f"),
        "throttled": _number(cell.throttled_share if known else None, ".0%"),
        "failed": _number(cell.failed_share if known else None, ".1%"),
        "cold": _number(cold * 1000 if known and cold is not None else None, ".0f"),
    }


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _recommendation(choice: Choice | None, within: float | None, cells: Sequence[Cell]) -> str:
    if choice is None:
        what = "no cell could be measured" if within is None else f"no cell meets {within:g} s a batch"
        measured = [cell for cell in cells if cell.measured and cell.batch_seconds is not None]
        if not measured:
            return "Recommendation: none; no cell could be measured."
        nearest = min(measured, key=lambda cell: cell.batch_seconds.p95 if cell.batch_seconds else 0.0)
        return f"Recommendation: none; {what}; the nearest is {nearest.setting}."
    best = choice.best
    time = f", of those that take at most {within:g} s a batch" if within is not None else ""
    return (
        f"Cheapest{time}: {best.setting}, {dollars(best.dollars_per_million)} for a million records at "
        f"{best.records_per_second:,.0f} records/s{_ties(choice)}.{_quickest(choice)}"
    )


def _ties(choice: Choice) -> str:
    if choice.clear:
        return ""
    shown = ", ".join(str(cell.setting) for cell in choice.ties[:_MOST_TIES])
    more = f" and {len(choice.ties) - _MOST_TIES} more" if len(choice.ties) > _MOST_TIES else ""
    return f"; cannot tell it from {shown}{more}: the difference is within the noise"


def _quickest(choice: Choice) -> str:
    """Name the fastest of what costs the same."""
    quickest = max((choice.best, *choice.ties), key=lambda cell: cell.records_per_second)
    if quickest == choice.best:
        return ""
    return f" Of these the fastest is {quickest.setting}, {quickest.records_per_second:,.0f} records/s."


def _saving(saving: Saving) -> str:
    present, share = saving.present, saving.share
    now = f"The present setting, {present.setting}, costs {dollars(present.dollars_per_million)}"
    if saving.present.setting == saving.proposed.setting:
        return f"{now}: it is the cheapest."
    if not saving.certain:
        return f"{now}: cannot tell it from the cheapest, the difference is within the noise."
    return f"{now}: changing would {'save' if share > 0 else 'cost'} {abs(share):.0%}{' more' if share < 0 else ''}."


def _memory(rows: Sequence[Frontier]) -> Iterator[str]:
    for row in rows:
        if row.killed_at_mb is not None:
            enough = f"{row.fits_from_mb:,} MB were enough" if row.fits_from_mb else "no larger size was measured"
            yield f"Out of memory: {row.concurrency} handlers at once at {row.killed_at_mb:,} MB; {enough}."
