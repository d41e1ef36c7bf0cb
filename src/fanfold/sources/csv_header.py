"""The columns of a CSV object, from its first bytes; what does not look like what was declared is refused.

Deciding from a sample cannot find every wrong declaration. It finds those whose rows would be wrong without an error: a
delimiter that leaves one column or too few, a first row that is lost as a header or taken as a row, and content that is
compressed, binary, in UTF-16, or has lines that end with CR. Each refusal names the setting that reads the object.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from fanfold.errors import SourceError
from fanfold.sources.bad_rows import BadRow
from fanfold.sources.csv_rows import Row, RowLines, RowParser
from fanfold.sources.text_encoding import UTF_8, decoding_error

_DELIMITERS: Final = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'", "\x01": r"'\x01'", "^": "'^'", "~": "'~'"}
"""Delimiters that an object may have in place of the declared one, as written in code."""
_SAMPLE_ROWS: Final = 100
_EXCEL: Final = re.compile(rb"(?:sep=(.)|\"sep=(.)\")\r?\n", re.IGNORECASE)
"""A first line with the delimiter, which Excel reads and skips."""
_DATA: Final = re.compile(
    r"[+-]?(\d+|\d{1,3}([ .,'\u00a0]\d{3})+)([.,]\d*)?([eE][+-]?\d+)?\s*%?"  # a number
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|\d{1,2}:\d{2}(:\d{2}.*)?"  # a date or a time
    r"|[^@\s]+@[^@\s]+\.\w+|\w+://\S+|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"  # an address or an id
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows of a CSV object begin, and their columns."""

    header: Sequence[str]
    """The columns of the object, in order; empty for an object without lines."""
    begin: int
    """Position of the first row after the header."""
    line: int
    """Number of its first line, from 1."""
    is_empty: bool = False
    """True if no row follows."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The declaration of the objects of a source."""

    delimiter: str
    """The delimiter."""
    is_default: bool
    """True if the delimiter was derived from the key."""
    quotechar: str | None
    """The quote character; None if there is none."""
    encoding: str
    """The encoding."""
    columns: Sequence[str] | None
    """The columns; None for those of the header."""
    header: bool | None
    """True if objects begin with a header, False if not; None to derive it from the first row."""

    def dialect(self) -> dict[str, Any]:
        """Return the settings that a part needs."""
        dialect: dict[str, Any] = {"delimiter": self.delimiter, "quotechar": self.quotechar}
        return dialect if self.encoding == UTF_8 else {**dialect, "encoding": self.encoding}


def layout_of(head: bytes, declared: Declared, name: str, *, is_complete: bool) -> Layout | None:
    """Return the layout of a CSV object; None if its first row ends after the head.

    Args:
        head: The first bytes of the object, decompressed and without a byte order mark.
        declared: What was declared.
        name: The object, for errors.
        is_complete: Whether the head is the whole object.

    Raises:
        SourceError: If the object does not look like what was declared, or its first row cannot be parsed.
    """
    if stated := _EXCEL.match(head):
        delimiter = (stated[1] or stated[2]).decode("latin-1")
        if delimiter != declared.delimiter:
            option = _DELIMITERS.get(delimiter, repr(delimiter))
            raise SourceError(f"{name}: line 1 states another delimiter: specify delimiter={option}")
        layout = layout_of(head[stated.end() :], declared, name, is_complete=is_complete)
        return layout and replace(layout, begin=layout.begin + stated.end(), line=layout.line + 1)
    if is_complete and not head.strip(b"\r\n"):
        return Layout([], len(head), 1, is_empty=True)
    rows = _sample(head, declared, name, is_complete=is_complete)
    if not rows:
        return None
    first = rows[0]
    if first.fields is None or any("\ud800" <= letter <= "\udfff" for letter in "".join(first.fields)):
        reason = first.reason or decoding_error(first.data, declared.encoding)
        raise BadRow(name, first.begin, first.line, reason).error()
    cells = [row.fields for row in rows if row.fields]
    if not first.fields:
        raise SourceError(
            f"{name}: line 1 is empty: a CSV object must begin with a header, or with a row if columns= is specified"
        )
    texts = [row.data.decode(declared.encoding, "replace") for row in rows if row.fields]
    if declared.columns is None:
        _check_delimiter(cells, texts, declared, name)
        _check_header(cells, declared, name)
    elif not _has_header(cells, texts, declared, name):
        return Layout(list(declared.columns), 0, 1)
    is_empty = is_complete and first.after >= len(head)
    return Layout(list(first.fields), first.after, first.data.count(b"\n") + 2, is_empty=is_empty)


def _sample(head: bytes, declared: Declared, name: str, *, is_complete: bool) -> list[Row]:
    """Return the first rows of an object, up to one that cannot be parsed; raise if that is the first."""
    lines = head.removesuffix(b"\n").split(b"\n") if is_complete else head.split(b"\n")[:-1]
    rows: list[Row] = []
    if not lines:
        return rows
    parser = RowParser(declared.dialect(), name, RowLines.SPANNING, 1)
    try:
        for row in parser.rows(lines, 0):
            rows.append(row)
            if len(rows) == _SAMPLE_ROWS or row.fields is None:
                return rows
        if is_complete:
            rows.extend(parser.last_rows(len(head)))
    except SourceError:
        if not rows:
            _check_quoted(lines, declared, name)
            raise
    return rows


def _check_quoted(lines: Sequence[bytes], declared: Declared, name: str) -> None:
    """Refuse a delimiter with which the quotes of the first row do not enclose its fields, if another one fits."""
    widths: dict[str, int] = {}
    for other in _DELIMITERS:
        if other not in {declared.delimiter, declared.quotechar}:
            parser = RowParser({**declared.dialect(), "delimiter": other}, name, RowLines.SPANNING, 1)
            with suppress(SourceError, StopIteration):
                widths[other] = len(next(parser.rows(lines, 0)).fields or ())
    if widths and max(widths.values()) > 1:
        option = _DELIMITERS[max(widths, key=lambda other: widths[other])]
        raise SourceError(
            f"{name}: the quotes of line 1 do not enclose its fields with delimiter={declared.delimiter!r}: specify "
            f"delimiter={option}"
        )


def _check_delimiter(rows: Sequence[Sequence[str]], texts: Sequence[str], declared: Declared, name: str) -> None:
    """Refuse a delimiter that splits every row into fewer columns than another one, or the first row not at all."""
    width = len(rows[0])
    if width > 1 and not declared.is_default:
        return
    others = {other: _widths(texts if width > 1 else texts[:1], other, declared) for other in _DELIMITERS}
    better = {
        other: widths[0]
        for other, widths in others.items()
        if other != declared.delimiter and len(set(widths)) == 1 and widths[0] > width and len(widths) >= min(width, 2)
    }
    if not better:
        return
    option = _DELIMITERS[max(better, key=lambda other: better[other])]
    if width == 1:
        raise SourceError(
            f"{name}: line 1 is a single column, {rows[0][0][:80]!r}, with delimiter={declared.delimiter!r}: specify "
            f"delimiter={option}, or columns=[…] with this name if it is one column"
        )
    raise SourceError(
        f"{name}: every row has {max(better.values())} columns with delimiter={option}, but line 1 has {width} with "
        f"{declared.delimiter!r}: specify delimiter={option}, or delimiter={declared.delimiter!r} if that is right"
    )


def _widths(texts: Sequence[str], delimiter: str, declared: Declared) -> list[int]:
    """Return the number of columns in each row with another delimiter; empty if a row cannot be parsed."""
    options: dict[str, Any] = {"delimiter": delimiter, "strict": True}
    options |= {"quotechar": declared.quotechar} if declared.quotechar else {"quoting": csv.QUOTE_NONE}
    if delimiter == declared.quotechar:
        return []
    try:
        return [len(next(csv.reader([text], **options))) for text in texts]
    except (csv.Error, StopIteration):
        return []


def _check_header(rows: Sequence[Sequence[str]], declared: Declared, name: str) -> None:
    """Refuse a header that is empty, has a column twice, or looks like a row."""
    first = rows[0]
    without = "if the object has no header, specify columns=[…] with the names of its columns"
    if not any(first):
        raise SourceError(f"{name}: line 1 is empty: a CSV object must begin with a header; {without}")
    if len(set(first)) < len(first):
        twice = sorted({column for column in first if first.count(column) > 1})
        raise SourceError(
            f"{name}: line 1, the header, has the column {twice[0]!r} twice: rename one of them; {without}"
        )
    if declared.header:
        return
    for place, cell in enumerate(first):
        repeated = bool(cell) and any(len(row) > place and row[place] == cell for row in rows[1:])
        if repeated or _DATA.fullmatch(cell.strip()):
            fact = "occurs again in its column" if repeated else "is a value"
            raise SourceError(
                f"{name}: line 1 looks like a row, because {cell[:80]!r} {fact}; {without}, or header=True if line 1 "
                "is the header"
            )


def _has_header(rows: Sequence[Sequence[str]], texts: Sequence[str], declared: Declared, name: str) -> bool:
    """Return whether an object whose columns are declared begins with a header.

    Raises:
        SourceError: If that is unclear, or the columns differ.
    """
    columns, first = declared.columns or (), rows[0]
    unknown = [cell for cell in first if cell not in columns]
    if declared.header is False or (declared.header is None and len(unknown) == len(first)):
        if len(first) != len(columns):
            _check_delimiter(rows[:1], texts[:1], declared, name)
            raise SourceError(
                f"{name}: line 1 has {len(first)} fields, but columns= has {len(columns)} names, and line 1 is not a "
                "header with these names"
            )
        if declared.header is None:
            _check_first_row(rows, name)
        return False
    if unknown:
        raise SourceError(
            f"{name}: line 1 has {unknown[0][:80]!r}, which is not in columns=: add it, or specify header=False if "
            "line 1 is a row"
        )
    if len(set(first)) < len(first):
        raise SourceError(f"{name}: line 1, the header, has a column twice: rename one of them")
    return True


def _check_first_row(rows: Sequence[Sequence[str]], name: str) -> None:
    """Refuse a first row that looks like a header: text above a column of values."""
    for place, cell in enumerate(rows[0]):
        below = [row[place] for row in rows[1:] if len(row) > place and row[place]]
        if (
            cell
            and not _DATA.fullmatch(cell.strip())
            and below
            and all(_DATA.fullmatch(text.strip()) for text in below)
        ):
            raise SourceError(
                f"{name}: line 1 looks like a header, because {cell[:80]!r} is above a column of values; to use it, "
                "remove columns= or name its columns there; if it is a row, specify header=False"
            )
