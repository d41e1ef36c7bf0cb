"""How a ledger writes segment numbers and results as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fanfold.errors import LedgerError

_ID_DIGITS: Final = 18
"""Most digits of a difference between ids; what has more is none of ours."""


def encode_ids(ids: Iterable[int]) -> str:
    """Return ids, sorted, as the first one and the differences: 3, 4, 9 is ``3,1,5``."""
    encoded, last = [], 0
    for number in sorted(set(ids)):
        encoded.append(str(number - last))
        last = number
    return ",".join(encoded)


def decode_ids(text: str) -> Sequence[int]:
    """Return what ``encode_ids`` encoded, ascending.

    Raises:
        LedgerError: If the text is none of its making.
    """
    ids, last = [], 0
    for part in text.split(",") if text else ():
        if not part.isdecimal() or len(part) > _ID_DIGITS:
            raise LedgerError(f"the ledger holds an unreadable list of segments: {text[:80]!r}")
        last += int(part)
        ids.append(last)
    return ids


def results_to_json(results: Mapping[int, str]) -> str:
    """Return results, each already JSON text, as the text of one JSON object by segment."""
    return "{" + ",".join(f'"{segment}":{text}' for segment, text in results.items()) + "}"


def results_from_json(text: str | bytes) -> dict[int, str]:
    """Return what ``results_to_json`` made into one text."""
    return {int(segment): json.dumps(value, separators=(",", ":")) for segment, value in json.loads(text).items()}
