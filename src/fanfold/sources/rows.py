"""Parse lines into items: CSV rows, JSON values, or strings; errors state the object, the byte, and the fix."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from fanfold.errors import SourceError
from fanfold.sources.json_values import ValuesOf, values_parser

FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text", ".log": "text"}
"""Format by the suffix of a key."""
BOM: Final = b"\xef\xbb\xbf"
"""The byte order mark, which some programs write at the beginning of UTF-8 text."""
_ONE_LINE: Final = 'write each row on one line, and double quotes inside a field ("")'

Parser: TypeAlias = Callable[[Iterable[bytes]], Iterator[Any]]
"""Yields the items of lines; ``Several`` in place of the items of one line."""


class Several(list[Any]):
    """Items that share a line: reading can resume only after the last of them."""


def csv_header(line: bytes, name: str) -> list[str]:
    """Return the column names in the first line of a CSV object.

    Raises:
        SourceError: If the line is empty, or a column name is repeated.
    """
    header: list[str] = next((row for row, _ in parsed(_csv_rows, [line.removeprefix(BOM)], 0, name)), [])
    if not any(header):
        raise SourceError(f"{name}: line 1 is empty: a CSV object must begin with a header")
    if len(set(header)) < len(header):
        twice = sorted({column for column in header if header.count(column) > 1})
        raise SourceError(f"{name}: line 1, the header, has the column {twice[0]!r} twice: rename one of them")
    return header


def parser_of(format: str, header: Sequence[str] | None, *, decimals: bool = False) -> Parser:  # noqa: A002 - the term users know
    """Return the parser of a format; CSV needs a header, and ``decimals`` is for JSON."""
    if format == "csv":
        return partial(_csv_dicts, header or ())
    return partial(_json_values, values_parser(decimals=decimals)) if format == "jsonl" else _strings


def parsed(parse: Parser, lines: Sequence[bytes], position: int, name: str) -> Iterator[tuple[Any, int | None]]:
    """Yield the items of some lines; the mark of an item is the byte after its line, None if more items follow there.

    Raises:
        SourceError: If a line is malformed; the error states the object, the byte, and the fix.
    """
    line_at = after = position
    longest = max(map(len, lines), default=0)
    if longest > csv.field_size_limit():
        csv.field_size_limit(longest)  # a setting of the whole process; only increased

    def tracked() -> Iterator[bytes]:
        nonlocal line_at, after
        for line in lines:
            line_at, after = after, after + len(line) + 1
            yield line.removesuffix(b"\r")

    try:
        for item in parse(tracked()):
            if type(item) is Several:
                yield from ((value, None) for value in item[:-1])
                yield item[-1], after
            else:
                yield item, after
    except (csv.Error, ValueError, RecursionError) as error:
        raise SourceError(f"{name}: malformed line near byte {line_at}: {error}") from error


def _csv_dicts(header: Sequence[str], lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    for row in _csv_rows(lines):
        if len(row) != len(header):
            raise ValueError(f"the row has {len(row)} fields, but the header has {len(header)}")
        yield dict(zip(header, row, strict=True))


def _csv_rows(lines: Iterable[bytes]) -> Iterator[list[str]]:
    rows = csv.reader(map(_csv_line, lines), strict=True)
    for number, row in enumerate(rows, 1):
        if rows.line_num != number:
            raise ValueError(f"a row continues after the end of its line; {_ONE_LINE}")
        if row:
            yield row


def _csv_line(line: bytes) -> str:
    if b'"' in line and line.count(b'"') % 2:
        raise ValueError(f"an odd number of quotes (a row that spans lines, or an unescaped quote); {_ONE_LINE}")
    return line.decode()


def _json_values(values_of: ValuesOf, lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        values = values_of(line.decode()) if line.strip() else ()
        if len(values) > 1:
            yield Several(values)
        elif values:
            yield values[0]


def _strings(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        yield line.decode()
