"""A replay as one self-contained HTML page: no script, no request, legible in light, in dark and in print.

An outcome is told by a letter and a pattern as well as by its colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from fanfold._replay.timeline import durations

__all__ = ["page"]

MOST_CHARTS: Final = 30
"""Deliveries whose slots are drawn."""
MOST_BARS: Final = 400
"""Records drawn of one delivery."""
MOST_SLOTS: Final = 50
"""Slots drawn of one delivery."""
MOST_ROWS: Final = 500
"""Messages listed."""
MOST_DELIVERIES: Final = 200
"""Deliveries on the overview."""

_LETTERS: Final = {"Done": "D", "Failed": "F", "Retrying": "R", "Rejected": "X", "NotStarted": "N"}
_CLASSES: Final = {"Done": "done", "Failed": "failed", "Retrying": "retry", "Rejected": "reject", "NotStarted": "none"}
_VERDICTS: Final = {"complete success": "done", "partial success": "retry", "complete failure": "failed"}
_WIDTH, _LABEL, _ROW = 1100, 60, 22

_STYLE = """
:root { color-scheme: light dark; --bg: #fff; --text: #1b1f24; --soft: #5a6472; --line: #d5dae1; --card: #f5f7f9;
  --done: #0072b2; --failed: #c0440e; --retry: #8a6d00; --reject: #7b3f98; --none: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171c; --text: #e6e9ee; --soft: #a3adba; --line: #363d47;
  --card: #1d2229; --done: #56b4e9; --failed: #f0864e; --retry: #e6c229; --reject: #cc92e6; --none: #9aa4b2; } }
@media print { :root { color-scheme: light; } details > * { display: block; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1200px; background: var(--bg); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 32px 0 8px; }
h3 { font-size: 15px; margin: 20px 0 4px; }
p { margin: 4px 0; } .soft { color: var(--soft); } .verdict { font-size: 18px; margin: 8px 0 16px; }
.tiles { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 8px 14px;
  min-width: 110px; }
.tile b { display: block; font-size: 22px; }
.wide { overflow-x: auto; } svg { display: block; min-width: 700px; width: 100%; height: auto; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; } svg .axis { stroke: var(--line); }
svg .inside { fill: var(--bg); font-weight: 600; }
.done { fill: var(--done); } .failed { fill: var(--failed); } .retry { fill: var(--retry); }
.reject { fill: var(--reject); } .none { fill: var(--none); }
.failed.bar { stroke: var(--text); stroke-width: 1.5; } .retry.bar { stroke: var(--text); stroke-dasharray: 3 2; }
.reject.bar { stroke: var(--text); stroke-width: 1.5; stroke-dasharray: 1 2; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 5px 10px 5px 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; } code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; } ul { margin: 4px 0; padding-left: 20px; }
""".strip()


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a replay.

    Args:
        document: As ``replay`` returns it. Ids, errors and reasons in it are shown as text, whatever they hold.
    """
    title = f"Replay of {escape(document['handler'])}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        *_summary(document),
        "<h2>Deliveries, in simulated time</h2>",
        *_overview(document["deliveries"]),
        "<h2>Who ran when</h2>",
        *_charts(document),
        "<h2>Messages</h2>",
        *_messages(document["messages"], document),
        "</body></html>",
    ]
    return "\n".join(parts)


def _summary(document: Mapping[str, Any]) -> Iterable[str]:
    summary, measured = document["summary"], document["measured"]
    lost = f"{summary['lost']:,} lost" if summary["lost"] else "none lost"
    left = f", {summary['left']:,} still in the queue" if summary["left"] else ""
    yield (
        f'<p class="verdict">{summary["messages"]:,} messages: {summary["deleted"]:,} deleted, '
        f"{summary['dead_lettered']:,} dead-lettered, {lost}{left}.</p>"
    )
    tiles = {
        "messages": f"{summary['messages']:,}",
        "deliveries": f"{summary['deliveries']:,}",
        "receives": f"{summary['receives']:,}",
        "dead-lettered": f"{summary['dead_lettered']:,}",
        "took (measured)": f"{measured['seconds']:.1f} s",
    }
    if measured["peak_memory_mb"] is not None:
        tiles["peak memory (measured)"] = f"{measured['peak_memory_mb']:.0f} MB"
    cells = "".join(f'<div class="tile"><b>{value}</b>{name}</div>' for name, value in tiles.items())
    yield f'<div class="tiles">{cells}</div>'
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in document["settings"].items())
    yield f'<p class="soft">{escape(words)}; fanfold {escape(document["version"])}</p>'
    if not document["consumer"]:
        yield '<p class="soft">This handler is no fanfold consumer: how single records ended is not known.</p>'


def _overview(deliveries: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    shown = deliveries[:MOST_DELIVERIES]
    if not shown:
        yield "<p>Nothing was delivered.</p>"
        return
    last = max(each["ended_at"] for each in shown) or 1.0
    rows = _rows(shown)
    bars = []
    for each, row in zip(shown, rows, strict=True):
        kind = each["verdict"]["kind"]
        words = f"delivery {each['number']}: {len(each['messages'])} records, {kind}: {each['verdict']['reason']}"
        bars.append(
            _bar(each["began_at"] / last, each["ended_at"] / last, row, _VERDICTS[kind], str(each["number"]), words)
        )
    yield _chart(bars, max(rows) + 1, f"{last:g} s", "deliveries")
    capped = _capped("deliveries", len(deliveries), MOST_DELIVERIES)
    yield (
        '<p class="soft">A bar is a delivery, its number and verdict under the pointer; plain blue is a complete '
        f"success, dashed a partial one, outlined a complete failure.{capped}</p>"
    )


def _rows(deliveries: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return a row for each delivery, such that those that run at once stand in different ones."""
    ends: list[float] = []
    rows = []
    for each in deliveries:
        row = next((number for number, end in enumerate(ends) if end <= each["began_at"]), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = each["ended_at"]
        rows.append(row)
    return rows


def _charts(document: Mapping[str, Any]) -> Iterable[str]:
    deliveries, messages = document["deliveries"], document["messages"]
    order = sorted(deliveries, key=lambda each: (each["verdict"]["kind"] == "complete success", each["number"]))
    shown = sorted(order[:MOST_CHARTS], key=lambda each: each["number"])
    letters = ", ".join(f"{letter} {name}" for name, letter in _LETTERS.items())
    capped = _capped("deliveries", len(deliveries), MOST_CHARTS)
    yield f'<p class="soft">A row is a slot, a bar a record: {letters}.{capped}</p>'
    for each in shown:
        yield from _delivery(each, messages)


def _delivery(each: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    measured, verdict = each["measured"], each["verdict"]
    yield f"<h3>Delivery {each['number']}, at {each['began_at']:g} s: {len(each['messages']):,} records</h3>"
    facts = [f"{verdict['kind']}: {verdict['reason']}", f"took {measured['seconds']:.3f} s"]
    if measured["most_in_flight"] is not None:
        facts.append(f"{measured['most_in_flight']} at once")
    if measured["remaining_ms"] is not None:
        facts.append(f"{measured['remaining_ms'] / 1000:.1f} s left")
    if measured["peak_memory_mb"] is not None:
        facts.append(f"{measured['peak_memory_mb']:g} MB")
    yield f"<p>{escape('; '.join(facts))}</p>"
    spans = [span for span in measured["spans"] if span["slot"] < MOST_SLOTS][:MOST_BARS]
    if spans:
        yield _slots(spans, each["number"], messages)
        yield f'<p class="soft">{_capped("records", len(measured["spans"]), len(spans)).strip()}</p>'
    if each["response"] is not None:
        text = each["response"] if len(each["response"]) <= 2_000 else each["response"][:2_000] + " …"  # noqa: PLR2004 - a screen
        yield f"<details><summary>the response</summary><code>{escape(text)}</code></details>"


def _slots(spans: Sequence[Mapping[str, Any]], delivery: int, messages: Sequence[Mapping[str, Any]]) -> str:
    last = max(span["end_ms"] for span in spans) or 1.0
    bars = []
    for span in spans:
        message = messages[span["message"]]
        outcome = next((each["outcome"] for each in message["attempts"] if each["delivery"] == delivery), None)
        words = f"{message['id']}: {outcome or 'ran'}, {span['end_ms'] - span['start_ms']:.1f} ms"
        style, letter = _CLASSES.get(outcome or "", "done"), _LETTERS.get(outcome or "", "")
        bars.append(_bar(span["start_ms"] / last, span["end_ms"] / last, span["slot"], style, letter, words))
    return _chart(bars, max(span["slot"] for span in spans) + 1, f"{last:.1f} ms", "slots")


def _bar(start: float, end: float, row: int, style: str, letter: str, words: str) -> str:
    """Return a bar from a share of the axis to another; its letter where there is room for it."""
    left = _LABEL + start * (_WIDTH - _LABEL)
    width = max(1.5, (end - start) * (_WIDTH - _LABEL) - 1)
    top = row * _ROW + 2
    inside = (
        f'<text class="inside" x="{left + 4:.1f}" y="{top + 14}">{escape(letter)}</text>'
        if width > 8 + 8 * len(letter)
        else ""
    )
    return (
        f'<g><title>{escape(words)}</title><rect class="bar {style}" x="{left:.1f}" y="{top}" width="{width:.1f}" '
        f'height="{_ROW - 4}" rx="2"/>{inside}</g>'
    )


def _chart(bars: Sequence[str], rows: int, end: str, what: str) -> str:
    labels = (
        "".join(f'<text x="0" y="{row * _ROW + 16}">{row}</text>' for row in range(rows)) if what == "slots" else ""
    )
    bottom = rows * _ROW + 4
    return (
        f'<div class="wide"><svg viewBox="0 0 {_WIDTH} {bottom + 20}" role="img" aria-label="{what}">'
        f"{labels}{''.join(bars)}"
        f'<line class="axis" x1="{_LABEL}" x2="{_WIDTH}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{_LABEL}" y="{bottom + 15}">0</text>'
        f'<text x="{_WIDTH}" y="{bottom + 15}" text-anchor="end">{escape(end)}</text></svg></div>'
    )


def _messages(messages: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> Iterable[str]:
    took_ms = durations(document)
    reasons = {letter["number"]: letter["reason"] for letter in document.get("dead_letters", [])}
    order = sorted(messages, key=lambda each: (each["end"] == "deleted" and each["receives"] <= 1, each["number"]))
    capped = _capped("messages", len(messages), MOST_ROWS)
    yield f'<p class="soft">Those that did not simply succeed come first.{capped}</p>'
    yield '<div class="wide"><table><thead><tr><th>message</th><th>end</th><th>last outcome</th><th>error</th>'
    yield '<th class="number">receives</th><th class="number">took ms</th><th>what happened</th></tr></thead><tbody>'
    for each in order[:MOST_ROWS]:
        history = "".join(f"<li>{escape(line)}</li>" for line in each["history"])
        error = each["error"] or reasons.get(each["number"]) or "-"
        yield (
            f"<tr><td><code>{escape(each['id'])}</code></td><td>{escape(each['end'])}</td>"
            f"<td>{escape(each['outcome'] or '-')}</td><td>{escape(error)}</td>"
            f'<td class="number">{each["receives"]}</td>'
            f'<td class="number">{_ms(took_ms.get(each["number"]))}</td>'
            f"<td><details><summary>{len(each['history'])} lines</summary><ul>{history}</ul></details></td></tr>"
        )
    yield "</tbody></table></div>"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _capped(what: str, number: int, most: int) -> str:
    return f" Of {number:,} {what} {most:,} are shown." if number > most else ""
