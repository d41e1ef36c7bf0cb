"""A replay as one self-contained HTML page: no script, no request, legible in light, in dark and in print.

An outcome is told by a letter and a pattern as well as by its colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fanfold._base.html import render
from fanfold._replay.timeline import durations

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
MOST_CHARACTERS: Final = 2_000
"""Characters shown of a response."""

_LETTERS: Final = {"Done": "D", "Failed": "F", "Retrying": "R", "Rejected": "X", "NotStarted": "N"}
_CLASSES: Final = {"Done": "done", "Failed": "failed", "Retrying": "retry", "Rejected": "reject", "NotStarted": "none"}
_VERDICTS: Final = {"complete success": "done", "partial success": "retry", "complete failure": "failed"}


@dataclass(frozen=True, slots=True)
class _Bar:
    start: float
    """Share of the axis."""
    end: float
    row: int
    style: str
    letter: str
    """Written in it, where there is room."""
    words: str
    """Shown under the pointer."""


@dataclass(frozen=True, slots=True)
class _Chart:
    bars: Sequence[_Bar]
    end: str
    """Written at the end of its axis."""
    capped: str
    """How many are shown, if not all."""

    @property
    def rows(self) -> int:
        return max(bar.row for bar in self.bars) + 1


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a replay.

    Args:
        document: As ``replay`` returns it. Ids, errors and reasons in it are shown as text, whatever they hold.
    """
    deliveries, messages = document["deliveries"], document["messages"]
    failed_first = sorted(deliveries, key=lambda each: (each["verdict"]["kind"] == "complete success", each["number"]))
    odd_first = sorted(messages, key=lambda each: (each["end"] == "deleted" and each["receives"] <= 1, each["number"]))
    return render(
        __package__,
        "page.html",
        handler=document["handler"],
        version=document["version"],
        consumer=document["consumer"],
        verdict=_verdict(document["summary"]),
        tiles=_tiles(document["summary"], document["measured"]).items(),
        settings=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in document["settings"].items()),
        overview=_overview(deliveries),
        letters=", ".join(f"{letter} {name}" for name, letter in _LETTERS.items()),
        deliveries=sorted(failed_first[:MOST_CHARTS], key=lambda each: each["number"]),
        deliveries_capped=_capped("deliveries", len(deliveries), MOST_CHARTS),
        facts=_facts,
        slots=partial(_slots, messages=messages),
        messages=odd_first[:MOST_ROWS],
        messages_capped=_capped("messages", len(messages), MOST_ROWS),
        took_ms=durations(document),
        reasons={letter["number"]: letter["reason"] for letter in document.get("dead_letters", [])},
        most_characters=MOST_CHARACTERS,
    )


def _verdict(summary: Mapping[str, Any]) -> str:
    lost = f"{summary['lost']:,} lost" if summary["lost"] else "none lost"
    left = f", {summary['left']:,} still in the queue" if summary["left"] else ""
    return (
        f"{summary['messages']:,} messages: {summary['deleted']:,} deleted, {summary['dead_lettered']:,} "
        f"dead-lettered, {lost}{left}."
    )


def _tiles(summary: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, str]:
    tiles = {
        "messages": f"{summary['messages']:,}",
        "deliveries": f"{summary['deliveries']:,}",
        "receives": f"{summary['receives']:,}",
        "dead-lettered": f"{summary['dead_lettered']:,}",
        "took (measured)": f"{measured['seconds']:.1f} s",
    }
    if measured["peak_memory_mb"] is not None:
        tiles["peak memory (measured)"] = f"{measured['peak_memory_mb']:.0f} MB"
    return tiles


def _overview(deliveries: Sequence[Mapping[str, Any]]) -> _Chart | None:
    shown = deliveries[:MOST_DELIVERIES]
    if not shown:
        return None
    last = max(each["ended_at"] for each in shown) or 1.0
    bars = []
    for each, row in zip(shown, _rows(shown), strict=True):
        kind = each["verdict"]["kind"]
        words = f"delivery {each['number']}: {len(each['messages'])} records, {kind}: {each['verdict']['reason']}"
        shares = each["began_at"] / last, each["ended_at"] / last
        bars.append(_Bar(*shares, row, _VERDICTS[kind], str(each["number"]), words))
    return _Chart(bars, f"{last:g} s", _capped("deliveries", len(deliveries), MOST_DELIVERIES))


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


def _facts(delivery: Mapping[str, Any]) -> str:
    measured, verdict = delivery["measured"], delivery["verdict"]
    facts = [f"{verdict['kind']}: {verdict['reason']}", f"took {measured['seconds']:.3f} s"]
    if measured["most_in_flight"] is not None:
        facts.append(f"{measured['most_in_flight']} at once")
    if measured["remaining_ms"] is not None:
        facts.append(f"{measured['remaining_ms'] / 1000:.1f} s left")
    if measured["peak_memory_mb"] is not None:
        facts.append(f"{measured['peak_memory_mb']:g} MB")
    return "; ".join(facts)


def _slots(delivery: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> _Chart | None:
    every = delivery["measured"]["spans"]
    spans = [span for span in every if span["slot"] < MOST_SLOTS][:MOST_BARS]
    if not spans:
        return None
    last = max(span["end_ms"] for span in spans) or 1.0
    bars = []
    for span in spans:
        message = messages[span["message"]]
        attempts = (each["outcome"] for each in message["attempts"] if each["delivery"] == delivery["number"])
        outcome = next(attempts, None)
        words = f"{message['id']}: {outcome or 'ran'}, {span['end_ms'] - span['start_ms']:.1f} ms"
        style, letter = _CLASSES.get(outcome or "", "done"), _LETTERS.get(outcome or "", "")
        bars.append(_Bar(span["start_ms"] / last, span["end_ms"] / last, span["slot"], style, letter, words))
    return _Chart(bars, f"{last:.1f} ms", _capped("records", len(every), len(spans)).strip())


def _capped(what: str, number: int, most: int) -> str:
    return f" Of {number:,} {what} {most:,} are shown." if number > most else ""
