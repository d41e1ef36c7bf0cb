"""A replay as one self-contained HTML page without scripts and requests, for light mode, dark mode, and print.

Each outcome has a letter and a pattern as well as a color.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fanfold._base.html import render
from fanfold._replay.outage import survived
from fanfold._replay.timeline import durations, outcome_of
from fanfold._replay.wording import counted, notable, outcomes_unknown, settings_in_words, unique_prefix_length

MAX_CHARTS: Final = 30
"""Maximum number of deliveries with a timeline."""
MAX_BARS: Final = 400
"""Maximum number of records in a timeline."""
MAX_SLOTS: Final = 50
"""Maximum number of slots in a timeline."""
MAX_ROWS: Final = 500
"""Maximum number of messages in the table."""
MAX_DELIVERIES: Final = 200
"""Maximum number of deliveries in the overview."""
MAX_CHARACTERS: Final = 2_000
"""Maximum number of characters of a response."""

_LETTERS: Final = {"Done": "D", "Failed": "F", "Retrying": "R", "Rejected": "X", "NotStarted": "N"}
_CLASSES: Final = {"Done": "done", "Failed": "failed", "Retrying": "retry", "Rejected": "reject", "NotStarted": "none"}
_VERDICTS: Final = {"complete success": "done", "partial success": "retry", "complete failure": "failed"}


@dataclass(frozen=True, slots=True)
class _Bar:
    start: float
    """Position on the axis, 0 to 1."""
    end: float
    row: int
    style: str
    letter: str
    """Text in the bar, if there is room."""
    tooltip: str
    """Text on hover."""


@dataclass(frozen=True, slots=True)
class _Chart:
    bars: Sequence[_Bar]
    end: str
    """Label at the end of the axis."""
    capped: str
    """Note if not all bars are shown; empty otherwise."""

    @property
    def rows(self) -> int:
        return max(bar.row for bar in self.bars) + 1


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a replay.

    Args:
        document: The document that ``replay`` returns. The page escapes all ids, errors, and reasons.
    """
    deliveries, messages = document["deliveries"], document["messages"]
    failed_first = sorted(deliveries, key=lambda row: (row["verdict"]["kind"] == "complete success", row["number"]))
    listed = notable(messages)
    return render(
        __package__,
        "page.html",
        handler=document["handler"],
        version=document["version"],
        outcomes_unknown=outcomes_unknown(document),
        verdict=_verdict(document["summary"]),
        tiles=_tiles(document["summary"], document["measured"]).items(),
        survived=survived(document),
        settings=settings_in_words(document["settings"]),
        overview=_overview(deliveries),
        letters=", ".join(f"{letter} {name}" for name, letter in _LETTERS.items()),
        deliveries=sorted(failed_first[:MAX_CHARTS], key=lambda delivery: delivery["number"]),
        deliveries_capped=_capped("deliveries", len(deliveries), MAX_CHARTS),
        facts=_facts,
        slots=partial(_slots, messages=messages),
        messages=listed[:MAX_ROWS],
        messages_capped=_capped("messages", len(listed), MAX_ROWS),
        simple=counted(len(messages) - len(listed) - document["summary"]["filtered"], "message"),
        id_length=unique_prefix_length(row["id"] for row in messages),
        took_ms=durations(document),
        reasons={dead["number"]: dead["reason"] for dead in document.get("dead_letters", [])},
        max_characters=MAX_CHARACTERS,
        counted=counted,
    )


def _verdict(summary: Mapping[str, Any]) -> str:
    lost = f"{summary['lost']:,} lost" if summary["lost"] else "none lost"
    left = f", {summary['left']:,} still in the queue" if summary["left"] else ""
    filtered = f", {summary['filtered']:,} filtered out" if summary["filtered"] else ""
    return (
        f"{counted(summary['messages'], 'message')}: {summary['deleted']:,} deleted, {summary['dead_lettered']:,} "
        f"dead-lettered, {lost}{left}{filtered}."
    )


def _tiles(summary: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    tiles = {
        "messages": f"{summary['messages']:,}",
        "deliveries": f"{summary['deliveries']:,}",
        "receives": f"{summary['receives']:,}",
        "dead-lettered": f"{summary['dead_lettered']:,}",
        "duration (measured)": f"{measured['seconds']:.1f} s",
    }
    if measured["peak_memory_mb"] is not None:
        tiles["peak memory (measured)"] = f"{measured['peak_memory_mb']:.0f} MB"
    return tiles


def _overview(deliveries: Sequence[Mapping[str, Any]]) -> _Chart | None:
    shown = deliveries[:MAX_DELIVERIES]
    if not shown:
        return None
    last = max(delivery["ended_at"] for delivery in shown) or 1.0
    bars = []
    for delivery, row in zip(shown, _rows(shown), strict=True):
        kind = delivery["verdict"]["kind"]
        summary = f"{counted(len(delivery['messages']), 'record')}, {kind}: {delivery['verdict']['reason']}"
        tooltip = f"delivery {delivery['number']}: {summary}"
        shares = delivery["began_at"] / last, delivery["ended_at"] / last
        bars.append(_Bar(*shares, row, _VERDICTS[kind], str(delivery["number"]), tooltip))
    return _Chart(bars, f"{last:g} s", _capped("deliveries", len(deliveries), MAX_DELIVERIES))


def _rows(deliveries: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return a row for each delivery, so that concurrent deliveries have different rows."""
    ends: list[float] = []
    rows = []
    for delivery in deliveries:
        row = next((number for number, end in enumerate(ends) if end <= delivery["began_at"]), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = delivery["ended_at"]
        rows.append(row)
    return rows


def _facts(delivery: Mapping[str, Any]) -> str:
    measured, verdict = delivery["measured"], delivery["verdict"]
    facts = [f"{verdict['kind']}: {verdict['reason']}", f"duration {measured['seconds']:.3f} s"]
    if measured["most_in_flight"] is not None:
        facts.append(f"at most {counted(measured['most_in_flight'], 'record')} in flight")
    if measured["remaining_ms"] is not None:
        facts.append(f"{measured['remaining_ms'] / 1000:.1f} s left before the timeout")
    if measured["peak_memory_mb"] is not None:
        facts.append(f"peak memory {measured['peak_memory_mb']:g} MB")
    return "; ".join(facts)


def _slots(delivery: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> _Chart | None:
    all_spans = delivery["measured"]["spans"]
    spans = [span for span in all_spans if span["slot"] < MAX_SLOTS][:MAX_BARS]
    if not spans:
        return None
    last = max(span["end_ms"] for span in spans) or 1.0
    bars = []
    for span in spans:
        number = span["message"]
        outcome = outcome_of(delivery, messages, number)
        name = messages[number]["label"] if number < len(messages) else "a message that the handler sent"
        tooltip = f"{name}: {outcome or 'ran'}, {span['end_ms'] - span['start_ms']:.1f} ms"
        style, letter = _CLASSES.get(outcome or "", "done"), _LETTERS.get(outcome or "", "")
        bars.append(_Bar(span["start_ms"] / last, span["end_ms"] / last, span["slot"], style, letter, tooltip))
    return _Chart(bars, f"{last:.1f} ms", _capped("records", len(all_spans), len(spans)).strip())


def _capped(noun: str, number: int, most: int) -> str:
    return f" Showing {most:,} of {number:,} {noun}." if number > most else ""
