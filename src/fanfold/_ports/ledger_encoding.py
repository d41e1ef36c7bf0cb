"""The text encoding of segment numbers and results in a ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fanfold.errors import LedgerError

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
    return "{" + ",".join(f'"{segment}":{text}' for segment, text in results.items()) + "}"


def results_from_json(text: str | bytes) -> dict[int, str]:
    """Return the results that ``results_to_json`` encoded."""
    return {int(segment): json.dumps(value, separators=(",", ":")) for segment, value in json.loads(text).items()}
