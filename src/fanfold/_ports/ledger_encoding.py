"""The text encoding of segment numbers and results in a ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fanfold.errors import LedgerError

MARKER_WRITE_UNITS: Final = 3
"""Write units per batch: a marker of up to 2 KiB and the counter."""
_ID_DIGITS: Final = 18
"""Maximum digits of a difference between ids; a longer one is invalid."""


def encode_ids(ids: Iterable[int]) -> str:
    """Return sorted ids as the first one and the differences: 3, 4, 9 becomes ``3,1,5``."""
    encoded, last = [], 0
    for number in sorted(set(ids)):
        encoded.append(str(number - last))
        last = number
    return ",".join(encoded)


def decode_ids(text: str) -> Sequence[int]:
    """Return the ids that ``encode_ids`` encoded, in ascending order.

    Raises:
        LedgerError: If the text is malformed.
    """
    ids, last = [], 0
    for part in text.split(",") if text else ():
        if not part.isdecimal() or len(part) > _ID_DIGITS:
            raise LedgerError(f"the ledger holds an unreadable list of segments: {text[:80]!r}")
        last += int(part)
        ids.append(last)
    return ids


def results_to_json(results: Mapping[int, str]) -> str:
    """Return results, which are JSON texts, as one JSON object by segment."""
    lines = [f'"{segment}":{_on_one_line(text)}' for segment, text in results.items()]
    return _enclosed(lines, _OBJECT) if lines else "{}"


def results_from_json(text: str | bytes) -> dict[int, str]:
    """Return the results that ``results_to_json`` encoded; they are not parsed.

    Raises:
        LedgerError: If the text is incomplete.
    """
    text = text.decode() if isinstance(text, bytes) else text
    if not text.startswith("{\n"):  # from a version that wrote no line breaks
        return {int(segment): json.dumps(value, separators=(",", ":")) for segment, value in json.loads(text).items()}
    return dict(map(_segment_and_result, _lines(text, _OBJECT)))


def results_to_list(results: Iterable[str]) -> str:
    """Return results, which are JSON texts, as one JSON list."""
    lines = list(map(_on_one_line, results))
    return _enclosed(lines, _LIST) if lines else "[]"


def results_from_list(text: str, segments: Sequence[int]) -> dict[int, str]:
    """Return the results that ``results_to_list`` encoded, by segment; they are not parsed.

    Raises:
        LedgerError: If the text is incomplete, or has another number of results.
    """
    if text.startswith("[\n"):
        results = _lines(text, _LIST)
    else:  # from a version that wrote no line breaks
        results = [json.dumps(value, separators=(",", ":")) for value in json.loads(text)]
    if len(results) != len(segments):
        raise LedgerError(f"the ledger holds {len(results)} results for {len(segments)} segments")
    return dict(zip(segments, results, strict=True))


_OBJECT: Final = ("{\n", "\n}")
_LIST: Final = ("[\n", "\n]")
_BREAK: Final = ",\n"
"""Separates results. A JSON text on one line contains no line break, because strings escape it, so that results can be
separated without parsing them."""


def _on_one_line(text: str) -> str:
    return json.dumps(json.loads(text), separators=(",", ":")) if "\n" in text else text


def _enclosed(lines: Sequence[str], brackets: tuple[str, str]) -> str:
    return _BREAK.join(lines).join(brackets)


def _lines(text: str, brackets: tuple[str, str]) -> list[str]:
    opening, closing = brackets
    if not text.endswith(closing) or len(text) < len(opening) + len(closing):
        raise _unreadable(text)
    return text[len(opening) : -len(closing)].split(_BREAK)


def _segment_and_result(line: str) -> tuple[int, str]:
    segment, _, result = line.partition(":")
    if not segment[1:-1].isdecimal() or not result:
        raise _unreadable(line)
    return int(segment[1:-1]), result


def _unreadable(text: str) -> LedgerError:
    return LedgerError(f"the ledger holds unreadable results: {text[:80]!r}")
