"""A sweep as one self-contained HTML page: no script, no request, legible in light, in dark and in print.

A cell's number is written in it and its colour follows the number from dark to light, in a scale made for readers who
see colours differently; what ran out of memory is hatched and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Final

from fanfold.bench.cells import OUT_OF_MEMORY, Cell, Setting, Spread
from fanfold.bench.maps import MAPS, Map, shade
from fanfold.bench.result import Result
from fanfold.bench.words import conditions, dollars, sentences

__all__ = ["page"]

_CELL_WIDTH, _CELL_HEIGHT, _LEFT, _TOP, _BOTTOM = 78, 44, 62, 8, 44
_CIVIDIS: Final = ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838")
"""Ten steps of the scale, from the least to the most."""
_LIGHT: Final = 0.55
_COLUMNS: Final = ("at once", "memory MB", "records/s", "± tie", "$ / million", "batch p50 s", "batch p95 s",
                   "batch max s", "record p50 / p95 / p99 / max ms", "peak MB", "throttled", "came back",
                   "cold start ms")  # fmt: skip

_STYLE: Final = """
:root { color-scheme: light dark; --bg: #fff; --text: #1b1f24; --soft: #5a6472; --line: #d5dae1; --card: #f5f7f9;
  --mark: #d1242f; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171c; --text: #e6e9ee; --soft: #a3adba; --line: #363d47;
  --card: #1d2229; } }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
body { margin: 0 auto; padding: 24px; max-width: 1240px; background: var(--bg); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 32px 0 8px; }
p { margin: 4px 0; } .soft { color: var(--soft); } .verdict { font-size: 18px; margin: 8px 0 12px; }
ul { margin: 4px 0; padding-left: 20px; }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 8px 24px; }
.maps section { min-width: 0; }
.wide { overflow-x: auto; } svg { display: block; height: auto; }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; } svg text.dark { fill: #fff; }
svg text.light { fill: #000; } svg .edge { stroke: var(--bg); stroke-width: 2; }
svg .dead { fill: var(--card); } svg .hatch { stroke: var(--soft); stroke-width: 1.5; }
svg .frame { fill: none; stroke: var(--mark); stroke-width: 3; } svg .under { stroke: #fff; stroke-width: 5; }
svg .fastest { stroke-dasharray: 3 4; }
svg .frontier { stroke: var(--mark); stroke-width: 4; stroke-linecap: square; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; overflow-wrap: normal; }
td.words, th.words { text-align: left; white-space: normal; overflow-wrap: normal; min-width: 9em; }
tr.best td { font-weight: 700; background: var(--card); }
@media print { :root { color-scheme: light; --bg: #fff; --text: #1b1f24; --soft: #5a6472; --line: #d5dae1;
  --card: #f5f7f9; } section { break-inside: avoid; } body { padding: 0; }
  .wide { overflow: visible; } table { font-size: 9px; } th, td { padding: 2px 3px; } }
""".strip()


def page(result: Result) -> str:
    """Return the page of a sweep. Names and reasons in it are shown as text, whatever they hold."""
    title = f"Concurrency against memory: {escape(result.workload.handler)}"
    told = sentences(result)
    return "\n".join([
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f'<p class="verdict">{escape(told[0])}</p>',
        "<ul>", *(f"<li>{escape(line)}</li>" for line in told[1:]), "</ul>",
        f'<p class="soft">{_legend(result)}</p>',
        '<div class="maps">', *(_section(result, each) for each in MAPS), "</div>",
        "<h2>Every cell</h2>", *_table(result),
        "<h2>How it was measured</h2>",
        "<ul>", *(f"<li>{escape(line)}</li>" for line in conditions(result)), "</ul>",
        "</body></html>",
    ])  # fmt: skip


def _legend(result: Result) -> str:
    parts = ["Solid frame: the cheapest", "dotted frame: the fastest", "all numbers of a cell stand under the pointer"]
    if any(cell.end == OUT_OF_MEMORY for cell in result.cells):
        parts.append("heavy line: where memory ends; hatched: out of memory, so nothing was measured")
    return "; ".join(parts) + "."


def _section(result: Result, drawn: Map) -> str:
    concurrencies = sorted({cell.setting.concurrency for cell in result.cells}, reverse=True)
    memories = sorted({cell.setting.memory_mb for cell in result.cells})
    cells = {cell.setting: cell for cell in result.cells}
    values = {key: value for key, cell in cells.items() if cell.measured and (value := drawn.value(cell)) is not None}
    shades = shade(values, logarithmic=drawn.logarithmic)
    width = _LEFT + len(memories) * _CELL_WIDTH + 4
    height = _TOP + len(concurrencies) * _CELL_HEIGHT + _BOTTOM
    places = {
        Setting(concurrency, memory): (_LEFT + x * _CELL_WIDTH, _TOP + y * _CELL_HEIGHT)
        for y, concurrency in enumerate(concurrencies)
        for x, memory in enumerate(memories)
    }
    head = (
        f'<section><h2>{escape(drawn.title)}</h2><div class="wide"><svg viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(drawn.title)}">'
    )
    hatch = (
        f'<defs><pattern id="hatch-{drawn.name}" width="8" height="8" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="8"/></pattern></defs>'
    )
    parts = [
        head,
        hatch,
        *(
            _cell(cells[setting], places[setting], drawn, values.get(setting), shades.get(setting))
            for setting in sorted(cells)
        ),
        *_frames(result, places),
        *_frontier(cells, places, concurrencies, memories),
        *_axes(concurrencies, memories, height),
        "</svg></div></section>",
    ]
    return "".join(parts)


def _cell(cell: Cell, place: tuple[int, int], drawn: Map, value: float | None, share: float | None) -> str:
    x, y = place
    words = escape(_told(cell))
    box = f'class="{{}} edge" x="{x}" y="{y}" width="{_CELL_WIDTH}" height="{_CELL_HEIGHT}"'
    if share is None or value is None:
        hatched = f'<rect {box.format("over")} fill="url(#hatch-{drawn.name})"/>'
        lines = ("out of", "memory") if cell.end == OUT_OF_MEMORY else ("-",) if cell.measured else (cell.end,)
        back = f'<rect class="dead" x="{x + 12}" y="{y + 4}" width="{_CELL_WIDTH - 24}" height="{_CELL_HEIGHT - 8}"/>'
        first = y + _CELL_HEIGHT / 2 + (5 if len(lines) == 1 else -3)
        text = "".join(
            f'<text x="{x + _CELL_WIDTH / 2:g}" y="{first + 16 * number:g}" text-anchor="middle">{escape(line)}</text>'
            for number, line in enumerate(lines)
        )
        return f'<g class="cell"><title>{words}</title><rect {box.format("dead")}/>{hatched}{back}{text}</g>'
    ink = "dark" if share < _LIGHT else "light"
    middle = f'x="{x + _CELL_WIDTH / 2:g}" y="{y + _CELL_HEIGHT / 2 + 5:g}" text-anchor="middle"'
    return (
        f'<g class="cell"><title>{words}</title><rect {box.format("value")} fill="#{_colour(share)}"/>'
        f'<text class="{ink}" {middle}>{escape(drawn.words(value))}</text></g>'
    )


def _frames(result: Result, places: Mapping[Setting, tuple[int, int]]) -> Iterator[str]:
    found = result.findings
    for choice, name, inset in ((found.cheapest, "cheapest", 3), (found.fastest, "fastest", 8)):
        if choice is not None:
            x, y = places[choice.best.setting]
            size = f'width="{_CELL_WIDTH - 2 * inset}" height="{_CELL_HEIGHT - 2 * inset}"'
            where = f'x="{x + inset}" y="{y + inset}" {size}'
            yield f'<rect class="frame under" {where}/><rect class="frame {name}" {where}/>'


def _frontier(
    cells: Mapping[Setting, Cell],
    places: Mapping[Setting, tuple[int, int]],
    concurrencies: list[int],
    memories: list[int],
) -> Iterator[str]:
    """Yield the line between cells that ran out of memory and their neighbours that did not."""
    killed = {setting for setting, cell in cells.items() if cell.end == OUT_OF_MEMORY}
    for setting in sorted(killed):
        x, y = places[setting]
        row, column = concurrencies.index(setting.concurrency), memories.index(setting.memory_mb)
        right = Setting(setting.concurrency, memories[column + 1]) if column + 1 < len(memories) else None
        below = Setting(concurrencies[row + 1], setting.memory_mb) if row + 1 < len(concurrencies) else None
        if right in cells and right not in killed:
            edge = x + _CELL_WIDTH
            yield f'<line class="frontier" x1="{edge}" x2="{edge}" y1="{y}" y2="{y + _CELL_HEIGHT}"/>'
        if below in cells and below not in killed:
            edge = y + _CELL_HEIGHT
            yield f'<line class="frontier" x1="{x}" x2="{x + _CELL_WIDTH}" y1="{edge}" y2="{edge}"/>'


def _axes(concurrencies: list[int], memories: list[int], height: int) -> Iterator[str]:
    for row, concurrency in enumerate(concurrencies):
        y = _TOP + row * _CELL_HEIGHT + _CELL_HEIGHT / 2 + 5
        yield f'<text x="{_LEFT - 8}" y="{y:g}" text-anchor="end">{concurrency}</text>'
    for column, memory in enumerate(memories):
        x = _LEFT + column * _CELL_WIDTH + _CELL_WIDTH / 2
        yield f'<text x="{x:g}" y="{height - _BOTTOM + 18}" text-anchor="middle">{memory:,}</text>'
    middle = _TOP + len(concurrencies) * _CELL_HEIGHT / 2
    turned = f'transform="rotate(-90 14 {middle:g})" text-anchor="middle"'
    yield f'<text x="14" y="{middle:g}" {turned}>handlers at once</text>'
    x = _LEFT + len(memories) * _CELL_WIDTH / 2
    yield f'<text x="{x:g}" y="{height - 8}" text-anchor="middle">memory, MB</text>'


def _told(cell: Cell) -> str:
    """Return all of a cell in words, as shown under the pointer."""
    if not cell.measured:
        return f"{cell.setting}: {cell.end}: {cell.reason}"
    parts = [
        f"{cell.setting}: {cell.records_per_second:,.0f} records/s ± {cell.tolerance:.0%}",
        f"{dollars(cell.dollars_per_million)} for a million records",
    ]
    if cell.batch_seconds is not None:
        parts.append(f"a batch takes {cell.batch_seconds.p50:.3f} s, p95 {cell.batch_seconds.p95:.3f} s")
    if cell.record_seconds is not None:
        parts.append(f"a record p50 / p95 / p99 / max {_four(cell.record_seconds)} ms")
    if cell.peak_memory_mb is not None:
        parts.append(f"peak memory {cell.peak_memory_mb:.0f} MB")
    if cell.throttled_share is not None:
        parts.append(f"throttled {cell.throttled_share:.0%} of the time")
    if cell.failed_share:
        parts.append(f"{cell.failed_share:.1%} of the records came back")
    return "; ".join(parts)


def _table(result: Result) -> Iterable[str]:
    found = result.findings
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    yield f'<div class="wide"><table><thead><tr>{head}<th class="words">end</th></tr></thead><tbody>'
    for cell in result.cells:
        best = found.cheapest is not None and cell.setting == found.cheapest.best.setting
        row = "".join(f"<td>{escape(text)}</td>" for text in _row(cell))
        words = cell.end if cell.measured else f"{cell.end}: {cell.reason}"
        kind = ' class="best"' if best else ""
        yield f'<tr{kind}>{row}<td class="words">{escape(words)}</td></tr>'
    yield "</tbody></table></div>"


def _row(cell: Cell) -> list[str]:
    start = [str(cell.setting.concurrency), f"{cell.setting.memory_mb:,}"]
    if not cell.measured:
        return [*start, *["-"] * 11]
    batch = cell.batch_seconds
    return [
        *start,
        f"{cell.records_per_second:,.0f}",
        f"{cell.tolerance:.0%}",
        dollars(cell.dollars_per_million),
        *(["-"] * 3 if batch is None else [f"{value:.3f}" for value in (batch.p50, batch.p95, batch.most)]),
        "-" if cell.record_seconds is None else _four(cell.record_seconds),
        "-" if cell.peak_memory_mb is None else f"{cell.peak_memory_mb:.0f}",
        "-" if cell.throttled_share is None else f"{cell.throttled_share:.0%}",
        f"{cell.failed_share:.1%}",
        "-" if cell.cold_start_seconds is None else f"{cell.cold_start_seconds * 1000:.0f}",
    ]


def _four(spread: Spread) -> str:
    return " / ".join(f"{value * 1000:.1f}" for value in (spread.p50, spread.p95, spread.p99, spread.most))


def _colour(share: float) -> str:
    """Return the colour of a share from 0 to 1, between two steps of the scale."""
    place = share * (len(_CIVIDIS) - 1)
    first = min(int(place), len(_CIVIDIS) - 2)
    one, other = bytes.fromhex(_CIVIDIS[first]), bytes.fromhex(_CIVIDIS[first + 1])
    mixed = [round(a + (b - a) * (place - first)) for a, b in zip(one, other, strict=True)]
    return bytes(mixed).hex()
