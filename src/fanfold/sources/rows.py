"""Lines as items: rows of CSV, JSON values, or texts; a fault names the object, the byte and the mend."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from fanfold.errors import SourceError

FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text", ".log": "text"}
"""Format by the ending of a key."""
BOM: Final = b"\xef\xbb\xbf"
"""What some writers begin a text of UTF-8 with."""
_ONE_LINE: Final = 'write each row on one line, with quotes inside a field doubled ("")'

Parser: TypeAlias = Callable[[Iterable[bytes]], Iterator[Any]]
"""Yields the items of lines."""


def csv_header(line: bytes, name: str) -> list[str]:
    """Return the columns that the first line of a CSV object names.

    Raises:
        SourceError: If it names none, or one twice.
    """
    header: list[str] = next((row for row, _ in parsed(_csv_rows, [line.removeprefix(BOM)], 0, name)), [])
    if not any(header):
        raise SourceError(f"{name} begins with an empty line: a CSV object begins with a header")
    if len(set(header)) < len(header):
        twice = sorted({column for column in header if header.count(column) > 1})
        raise SourceError(f"{name} has the column {twice[0]!r} twice in its header")
    return header


def parser_of(format: str, header: Sequence[str] | None) -> Parser:  # noqa: A002 - the term users know
    """Return what yields the items of lines, by format; CSV needs a header."""
    if format == "csv":
        return partial(_csv_dicts, header or ())
    return _json_values if format == "jsonl" else _texts


def parsed(parse: Parser, lines: Sequence[bytes], position: int, name: str) -> Iterator[tuple[Any, int]]:
    """Yield the items of some lines, each with the byte after its line.

    A fault names the object, the byte and the mend.
    """
    line_at = after = position
    longest = max(map(len, lines), default=0)
    if longest > csv.field_size_limit():
        csv.field_size_limit(longest)  # a setting of the whole process; it is only ever raised

    def placed() -> Iterator[bytes]:
        nonlocal line_at, after
        for line in lines:
            line_at, after = after, after + len(line) + 1
            yield line.removesuffix(b"\r")

    try:
        for item in parse(placed()):
            yield item, after
    except (csv.Error, ValueError, RecursionError) as error:
        raise SourceError(f"{name}: malformed line near byte {line_at}: {error}") from error


def _csv_dicts(header: Sequence[str], lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    for row in _csv_rows(lines):
        if len(row) != len(header):
            raise ValueError(f"{len(row)} fields where the header has {len(header)}")
        yield dict(zip(header, row, strict=True))


def _csv_rows(lines: Iterable[bytes]) -> Iterator[list[str]]:
    rows = csv.reader(map(_csv_line, lines), strict=True)
    for number, row in enumerate(rows, 1):
        if rows.line_num != number:
            raise ValueError(f"a row goes on after the end of its line; {_ONE_LINE}")
        if row:
            yield row


def _csv_line(line: bytes) -> str:
    if b'"' in line and line.count(b'"') % 2:
        raise ValueError(f"an odd number of quotes: a row that spans lines, or a stray quote; {_ONE_LINE}")
    return line.decode()


def _json_values(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.strip():
            yield json.loads(line.decode())


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        yield line.decode()
