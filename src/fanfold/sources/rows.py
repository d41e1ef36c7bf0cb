"""Read the items of lines: JSON values or strings, and CSV rows; a line that cannot be read is a bad row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from fanfold.sources.bad_rows import BadRow, bad_row
from fanfold.sources.csv_rows import CsvReader
from fanfold.sources.json_values import values_parser
from fanfold.sources.text_encoding import UTF_8, decoding_error

FORMATS: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".psv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".log": "text",
}
"""Format by the suffix of a key."""
DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".psv": "|"}
"""Delimiter of CSV by the suffix of a key; a comma for any other."""
BOM: Final = b"\xef\xbb\xbf"
"""The byte order mark, which some programs write at the beginning of UTF-8 text."""

ParseLine: TypeAlias = Callable[[str], Sequence[Any]]
"""Returns the items of a line; raises ValueError or RecursionError if it is malformed."""


class Reader(Protocol):
    """Reads the items of a part from its lines, which are passed in order in blocks of any size."""

    def items(self, lines: Sequence[bytes], position: int) -> Iterator[tuple[Any, int | None]]:
        """Yield the items that end in some lines; the mark of an item is the byte after its line, None within a line.

        Args:
            lines: Lines without their LF, at least one.
            position: Position of the first of them.

        Raises:
            SourceError: If a line is malformed and bad rows are not collected; states the object, byte, and reason.
        """
        ...

    def last_items(self, position: int) -> Iterator[tuple[Any, int | None]]:
        """Yield the items that remain after the last lines of the part, which end before ``position``."""
        ...


def reader_of(part: Mapping[str, Any], name: str, line: int | None) -> Reader:
    """Return the reader of a part.

    Args:
        part: The part.
        name: The object, for errors.
        line: Number of the first line that is read, from 1; None if it is unknown.
    """
    return CsvReader(part, name, line) if part["format"] == "csv" else LineReader(part, name, line)


class LineReader:
    """Reads the items of each line: its JSON values, none in a blank line, or its text."""

    def __init__(self, part: Mapping[str, Any], name: str, line: int | None) -> None:
        self._part = part
        self._name = name
        self._line = line
        self._encoding: str = part.get("encoding", UTF_8)
        self._is_json = part["format"] == "jsonl"
        self._parse: ParseLine = values_parser(decimals=part.get("decimals", False)) if self._is_json else _text

    def items(self, lines: Sequence[bytes], position: int) -> Iterator[tuple[Any, int | None]]:
        """Yield the items of each line; the mark of the last one is the byte after the line, of others None."""
        after, encoding, parse = position, self._encoding, self._parse
        for index, data in enumerate(lines):
            begin, after = after, after + len(data) + 1
            line = data.removesuffix(b"\r")
            if self._is_json and not line.strip():
                continue
            try:
                items = parse(line.decode(encoding))
            except UnicodeDecodeError:
                items = [self._bad(line, begin, index, decoding_error(line, encoding))]
            except (ValueError, RecursionError) as error:
                items = [self._bad(line, begin, index, str(error))]
            yield from zip(items, [*[None] * (len(items) - 1), after], strict=True)
        if self._line is not None:
            self._line += len(lines)

    def last_items(self, position: int) -> Iterator[tuple[Any, int | None]]:  # noqa: ARG002 - as Reader
        """Yield nothing: each line is complete."""
        return iter(())

    def _bad(self, line: bytes, begin: int, index: int, reason: str) -> BadRow:
        number = None if self._line is None else self._line + index
        return bad_row(BadRow(self._name, begin, number, reason, line.decode(self._encoding, "replace")), self._part)


def _text(text: str) -> Sequence[str]:
    return [text]
