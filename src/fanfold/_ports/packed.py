"""Compact columns for items of a ledger: JSON, compressed, because DynamoDB bills writes per KiB."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

from fanfold._ports.run import Attempt, FailedBatch, Marker
from fanfold.errors import LedgerError

MAX_UNPACKED_BYTES: Final = 8_000_000
"""Size above which a packed value is refused, so that a crafted item cannot fill the memory."""
MAX_ATTEMPTS_BYTES: Final = 300_000
"""Maximum size of the packed attempts of a batch; an item of DynamoDB holds at most 400 KB."""
_MAX_NUMBER: Final = 2**53
"""Numbers are below this: greater ones are not exact in other JSON parsers."""
MAX_SECONDS: Final = 2.0**36
"""Limit of moments and durations in seconds: the year 4147. The sum of two of them is a valid date."""
_ROW: Final = 7


def pack(value: Any) -> bytes:
    """Return a JSON value in compressed form."""
    return zlib.compress(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), 9)


def unpack(data: bytes | str) -> Any:
    """Return the JSON value that ``pack`` compressed; as bytes, or in base64, as the SDK or a raw response has it.

    Raises:
        LedgerError: If the data is malformed, or larger than ``MAX_UNPACKED_BYTES``.
    """
    try:
        raw = base64.b64decode(data, validate=True) if isinstance(data, str) else data
        inflater = zlib.decompressobj()
        text = inflater.decompress(raw, MAX_UNPACKED_BYTES)
        if not inflater.eof:
            raise LedgerError("the ledger holds packed values that are incomplete or too large")
        return json.loads(text)
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise LedgerError(f"the ledger holds packed values that cannot be read: {error}") from error


def pack_ends(marker: Marker) -> bytes:
    """Return the segments that are done in a marker, with their items and times in milliseconds, as columns."""
    began = [round(moment * 1_000) for moment in marker.began_at]
    first = min(began, default=0)
    return pack(
        [
            [number - before for number, before in zip(marker.ids, [0, *marker.ids], strict=False)],
            list(marker.items),
            [first, *(moment - first for moment in began)] if began else [],
            [round(seconds * 1_000) for seconds in marker.seconds],
            None if marker.ended_at is None else round(marker.ended_at * 1_000),
            marker.environment,
        ]
    )


def unpack_ends(data: bytes | str) -> dict[str, Any]:
    """Return the fields of a marker that ``pack_ends`` packed, by name.

    Raises:
        LedgerError: If the data is malformed, or a column has another length.
    """
    try:
        differences, items, began, seconds, ended_at, environment = unpack(data)
        ids = list(accumulate(map(count_of, differences)))
        are_valid = all(len(column) in {0, len(ids)} for column in (items, began[1:], seconds)) and all(
            before < following for before, following in pairwise(ids)
        )
        if not are_valid:
            raise LedgerError("the ledger holds columns of different lengths, or a segment twice")
        return {
            "ids": ids,
            "items": list(map(count_of, items)) or (),
            "began_at": [_seconds_of(count_of(began[0]) + count_of(offset)) for offset in began[1:]] or (),
            "seconds": list(map(_seconds_of, seconds)) or (),
            "ended_at": None if ended_at is None else _seconds_of(ended_at),
            "environment": None if environment is None else _text(environment),
        }
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise LedgerError(f"the ledger holds a list of segments that cannot be read: {error}") from error


def pack_attempts(attempts: Sequence[Attempt]) -> bytes:
    """Return the failed attempts of a batch; if they are too large, without the messages of all but a few errors."""
    packed = pack(list(_groups(attempts, most_messages=len(attempts))))
    if len(packed) > MAX_ATTEMPTS_BYTES:
        packed = pack(list(_groups(attempts, most_messages=100)))
    return packed


def unpack_attempts(name: str, gen: int, data: bytes | str) -> FailedBatch:
    """Return the batch that ``pack_attempts`` packed.

    Raises:
        LedgerError: If it is malformed.
    """
    try:
        attempts = [
            Attempt(
                count_of(segment),
                gen,
                count_of(hop),
                count_of(number),
                _seconds_of(begin),
                _seconds_of(milliseconds),
                **shared,
                tag=count_of(tag),
                earlier=count_of(earlier),
            )
            for group in unpack(data)
            for shared in [_shared_in(group)]
            for segment, hop, number, begin, milliseconds, tag, earlier in _rows_in(group)
        ]
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        raise LedgerError(f"the ledger holds attempts that cannot be read: {error}") from error
    if not attempts:
        raise LedgerError("the ledger holds a batch without attempts")
    return FailedBatch(name, gen, attempts)


def _groups(attempts: Sequence[Attempt], *, most_messages: int) -> Iterator[list[Any]]:
    """Yield, for each kind of error, its fields and the numbers of each attempt."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    messages: set[str] = set()
    for attempt in attempts:
        message = attempt.message if attempt.message in messages or len(messages) < most_messages else ""
        messages.add(message)
        fields = (
            attempt.error,
            message,
            attempt.place,
            attempt.request_id,
            attempt.log_stream,
            attempt.max_number,
        )
        groups.setdefault(fields, []).extend(_row_of(attempt))
    for fields, rows in groups.items():
        yield [*fields, rows]


def _row_of(attempt: Attempt) -> list[int]:
    times = round(attempt.began_at * 1_000), max(0, round(attempt.seconds * 1_000))
    return [attempt.segment, attempt.hop, attempt.number, *times, attempt.tag, attempt.earlier]


def _rows_in(group: Sequence[Any]) -> Iterator[Sequence[Any]]:
    numbers = group[-1]
    if not numbers or len(numbers) % _ROW:
        raise ValueError("an incomplete row")
    return (numbers[first : first + _ROW] for first in range(0, len(numbers), _ROW))


def _shared_in(group: Sequence[Any]) -> dict[str, Any]:
    error, message, place, request_id, log_stream, max_number, _ = group
    texts = {"error": error, "message": message, "place": place, "request_id": request_id, "log_stream": log_stream}
    for name, text in texts.items():
        if text is not None or name in {"error", "message"}:
            _text(text)
    return {**texts, "max_number": None if max_number is None else count_of(max_number)}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _seconds_of(milliseconds: Any) -> float:
    return seconds_of(count_of(milliseconds) / 1_000)


def seconds_of(number: float) -> float:
    """Return a moment, in seconds since 1970, or a duration in seconds, if it is possible.

    Raises:
        ValueError: If it is not from 0 to ``MAX_SECONDS``.
    """
    if not 0 <= number <= MAX_SECONDS:
        raise ValueError(f"{number!r} is neither a moment nor a duration")
    return number


def count_of(number: Any) -> int:
    """Return a number if it is an integer from 0 that JSON represents exactly.

    Raises:
        ValueError: If it is not.
    """
    if type(number) is not int or not 0 <= number < _MAX_NUMBER:
        raise ValueError(f"{number!r} is not a count")
    return number
