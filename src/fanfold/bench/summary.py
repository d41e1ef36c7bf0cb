"""The findings of a sweep as sentences, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fanfold._replay.wording import counted
from fanfold.bench.cells import MEASURED, Cell, Sample
from fanfold.bench.decide import Choice, Frontier, Saving
from fanfold.bench.result import Result

_MAX_TIES = 6


def sentences(result: Result) -> list[str]:
    """Return the findings, the recommendation first."""
    conclusions, within = result.findings, result.grid.within_seconds
    lines = [_recommendation(conclusions.cheapest, within, result.cells)]
    if conclusions.saving is not None:
        lines.append(_saving(conclusions.saving))
    if conclusions.fastest is not None:
        best = conclusions.fastest.best
        lines.append(f"Fastest: {best.setting}, {best.records_per_second:,.0f} records/s{_ties(conclusions.fastest)}.")
    if conclusions.knee is not None:
        lines.append(f"Knee: {conclusions.knee.setting}; beyond it, more speed costs disproportionately more.")
    if len({setting.memory_mb for setting in conclusions.enough}) > 1:
        lines.append(f"Sufficient concurrency for each memory: {', '.join(map(str, conclusions.enough))}.")
    lines += list(_memory(conclusions.frontier))
    lines += [_adjusting(sample, result.cells) for sample in result.adjusting]
    failed = [str(cell.setting) for cell in result.cells if cell.end not in {"measured", "out of memory"}]
    if failed:
        lines.append(f"Not measured: {'; '.join(failed)}; see the table for the reasons.")
    return lines


def _adjusting(sample: Sample, cells: Sequence[Cell]) -> str:
    """Return what a limit that adjusts itself reached, next to the fastest fixed one of the same memory."""
    memory = sample.setting.memory_mb
    if sample.end != MEASURED:
        return f'concurrency="auto" at {memory:,} MB: {sample.end}: {sample.reason}.'
    line = f'concurrency="auto" at {memory:,} MB: a limit of {sample.setting.concurrency:,} at the end, '
    line += f"{sample.records_per_second:,.0f} records/s"
    fixed = [cell for cell in cells if cell.measured and cell.setting.memory_mb == memory and cell.records_per_second]
    if not fixed:
        return f"{line}."
    best = max(fixed, key=lambda cell: cell.records_per_second)
    share = sample.records_per_second / best.records_per_second
    return f"{line}, {share:.0%} of the fastest fixed one, {best.setting.concurrency:,}."


def conditions(result: Result) -> list[str]:
    """Return the conditions of the measurements, for readers of the numbers."""
    work, machine, prices = result.workload, result.machine, result.prices
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    repeats = max((cell.repeats for cell in result.cells), default=0)
    sampling = f"up to {counted(repeats, 'repeat')} of at least {work.seconds:g} s for each cell, on {work.where}"
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {machine['python']}, {packages}"
    priced = f"Prices: Lambda {prices.architecture} in {prices.region} as of {prices.as_of}"
    lines = [
        f"{work.records:,} records per batch, {sampling}; {result.limits}.",
        f"{where}; {machine['date']}.",
        f"{priced}; duration and requests, without SQS and the free tier.",
    ]
    if not result.complete:
        lines.append("The sweep is not complete: it was interrupted. Use --resume to continue.")
    return [*lines, *result.notes]


def dollars(value: float) -> str:
    """Return a price with three significant digits; below a millionth of a dollar, ``under $0.000001``."""
    if value >= 100:  # noqa: PLR2004 - without cents
        return f"${value:,.0f}"
    if 0 < value < 1e-6:  # noqa: PLR2004 - a millionth of a dollar
        return "under $0.000001"
    text = f"{value:.3g}"
    return f"${value:.6f}".rstrip("0") if "e" in text else f"${text}"


def figures(cell: Cell) -> dict[str, str]:
    """Return the numbers of a cell as shown in tables; "-" if they were not measured."""
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
        problem = "no cell could be measured" if within is None else f"no cell meets {within:g} s per batch"
        measured = [cell for cell in cells if cell.measured and cell.batch_seconds is not None]
        if not measured:
            return "Recommendation: none; no cell could be measured."
        nearest = min(measured, key=lambda cell: cell.batch_seconds.p95 if cell.batch_seconds else 0.0)
        return f"Recommendation: none; {problem}; the nearest is {nearest.setting}."
    best = choice.best
    limit = f" with at most {within:g} s per batch" if within is not None else ""
    return (
        f"Cheapest{limit}: {best.setting}, {dollars(best.dollars_per_million)} per million records at "
        f"{best.records_per_second:,.0f} records/s{_ties(choice)}.{_fastest_tie(choice)}"
    )


def _ties(choice: Choice) -> str:
    if choice.clear:
        return ""
    shown = ", ".join(str(cell.setting) for cell in choice.ties[:_MAX_TIES])
    more = f" and {len(choice.ties) - _MAX_TIES} more" if len(choice.ties) > _MAX_TIES else ""
    return f"; tied within the noise with {shown}{more}"


def _fastest_tie(choice: Choice) -> str:
    """Return a sentence about the fastest cell among ties, if it is not the best."""
    fastest = max((choice.best, *choice.ties), key=lambda cell: cell.records_per_second)
    if fastest == choice.best:
        return ""
    return f" The fastest of these is {fastest.setting}, {fastest.records_per_second:,.0f} records/s."


def _saving(saving: Saving) -> str:
    present, share = saving.present, saving.share
    now = f"The present setting, {present.setting}, costs {dollars(present.dollars_per_million)}"
    if saving.present.setting == saving.proposed.setting:
        return f"{now}: it is the cheapest."
    if not saving.certain:
        return f"{now}: it is tied with the cheapest, the difference is within the noise."
    return f"{now}: changing would {'save' if share > 0 else 'cost'} {abs(share):.0%}{' more' if share < 0 else ''}."


def _memory(rows: Sequence[Frontier]) -> Iterator[str]:
    for row in rows:
        if row.killed_at_mb is not None:
            enough = f"{row.fits_from_mb:,} MB is sufficient" if row.fits_from_mb else "no larger size was measured"
            yield f"Out of memory: {row.concurrency} concurrent handlers at {row.killed_at_mb:,} MB; {enough}."
