"""Rows of CSV: from blocks of lines to rows, with the bytes that each row takes.

The rows are those that Python's ``csv`` module reads in its strict mode. How rows relate to lines depends on the part:

- ``spanning``: the part begins and ends between rows, so a row may span lines.
- ``lines``: the user has declared that each row is one line.
- ``unknown``: the object was cut without either. A reader cannot know whether it begins inside quotes, so a line whose
  quotes do not enclose whole fields fails its segment, even if bad rows are collected.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate, chain, islice, repeat
from typing import Any, Final, NamedTuple

from fanfold.errors import SourceError
from fanfold.sources.bad_rows import BadRow, bad_row
from fanfold.sources.text_encoding import UTF_8, decoded, decoding_error

MAX_SPANNING_BYTES: Final = 16_000_000
"""Maximum size of a row that spans lines: a quote that is never closed must not read the rest of an object."""
_BLOCK_LINES: Final = 256
"""Lines that are parsed together: more need more memory, and are hardly faster."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class RowLines(StrEnum):
    """How the rows of a part relate to its lines; the part stores the value."""

    SPANNING = "spanning"
    """Rows may span lines."""
    LINES = "lines"
    """Each row is one line."""
    UNKNOWN = "unknown"
    """Each row must be one line, and its quotes must prove it."""


class Row(NamedTuple):
    """A row of a block of lines."""

    fields: Sequence[str] | None
    """The fields; None if the row cannot be parsed."""
    begin: int
    """Position of its first byte."""
    after: int
    """Position of the byte after it."""
    line: int | None
    """Number of its first line, from 1; None if unknown."""
    data: bytes
    """Its bytes, without the last line end."""
    reason: str = ""
    """Why it cannot be parsed."""


class RowParser:
    """Splits lines, which are passed in order in blocks of any size, into rows.

    Args:
        dialect: ``delimiter`` and ``quotechar``, and ``encoding`` unless it is UTF-8; a part has these keys.
        name: The object, for errors.
        mode: How rows relate to lines.
        line: Number of the first line, from 1; None if it is unknown.
    """

    def __init__(self, dialect: Mapping[str, Any], name: str, mode: RowLines, line: int | None) -> None:
        quote, delimiter = dialect["quotechar"], dialect["delimiter"]
        self.encoding: str = dialect.get("encoding", UTF_8)
        self._options: dict[str, Any] = {"delimiter": delimiter, "strict": True}
        self._options |= {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
        self.is_valid: bool = True
        """False if the current lines contain bytes that are invalid in the encoding; each became a lone surrogate."""
        self._quote = quote
        self._name = name
        self._mode = mode
        self._line = line
        self._unfinished: Sequence[bytes] = ()
        self._unfinished_bytes = 0
        self._wait_bytes = 0
        self._regular = None if quote is None else _regular_lines(delimiter, quote)

    def rows(self, lines: Sequence[bytes], position: int) -> Iterator[Row]:
        """Yield the rows that end in some lines. Lines of a row that has not ended are kept for the next call.

        Args:
            lines: Lines without their LF, at least one.
            position: Position of the first of them.

        Raises:
            SourceError: If it is unclear where the next row begins.
        """
        if self._unfinished:
            position -= self._unfinished_bytes
            lines, self._unfinished = [*self._unfinished, *lines], ()
            if (size := _size(lines)) < self._wait_bytes:  # parse a long row a few times, not once for each block
                self._keep(lines, size)
                return
        yield from self._parsed(lines, position, is_last=False)

    def plain_rows(self, lines: Sequence[bytes], width: int) -> list[list[str]] | None:
        """Return the fields of each line if every line is a row with ``width`` fields; None if ``rows`` must decide.

        This is for speed: it has no loop in Python over rows or fields.
        """
        if self._unfinished:
            return None
        feed, is_quoted = self._fed(lines)
        if not self.is_valid:
            return None
        try:
            rows = list(csv.reader(feed, **self._options))
        except csv.Error:
            return None
        if len(rows) != len(lines) or set(map(len, rows)) != {width}:
            return None
        if is_quoted and self._mode is RowLines.UNKNOWN and not self._are_regular("".join(feed)):
            return None
        self._line = None if self._line is None else self._line + len(lines)
        return rows

    def starts(self, lines: Sequence[bytes], position: int) -> Iterator[tuple[int, int | None]]:
        """Yield the position and the line number of the rows that end in some lines, as ``rows``, but faster."""
        quote = None if self._quote is None else self._quote.encode(self.encoding)
        if self._unfinished or (quote is not None and any(quote in line for line in lines)):
            for row in self.rows(lines, position):
                yield row.begin, row.line
            return
        for line in lines:
            yield position, self._line
            position += len(line) + 1
            self._line = None if self._line is None else self._line + 1

    def last_rows(self, position: int) -> Iterator[Row]:
        """Yield the rows of the lines that were kept, if any, after the last lines of the part.

        Args:
            position: Position of the byte after the last line.
        """
        if self._unfinished:
            yield from self._parsed(self._unfinished, position - self._unfinished_bytes, is_last=True)

    def _parsed(self, lines: Sequence[bytes], position: int, *, is_last: bool) -> Iterator[Row]:
        feed, is_quoted = self._fed(lines)
        done, step = 0, len(lines)
        number = self._line
        while done < len(lines):
            end = _End()
            reader = csv.reader(chain(islice(feed, done, done + step), end), **self._options)
            first, reason = done, ""
            try:
                for fields in reader:
                    last = first + reader.line_num
                    if last == done + 1:
                        data = lines[done]
                    elif self._mode is RowLines.SPANNING:
                        data = b"\n".join(lines[done:last])
                    else:
                        break
                    if is_quoted and self._is_doubtful(fields, feed[done]):
                        raise self._doubt(position, number)
                    after = position + len(data) + 1
                    yield Row(fields, position, after, number, data)
                    number = None if number is None else number + last - done
                    done, position = last, after
                else:
                    continue
            except csv.Error as error:
                if end.is_reached and self._mode is RowLines.SPANNING and not is_last:
                    self._keep_unfinished(lines[done:], position)
                    break
                reason = str(error)
            yield self._failed(lines[done], feed[done], position, number, reason)
            number = None if number is None else number + 1
            done, position = done + 1, position + len(lines[done]) + 1
            if self._mode is RowLines.LINES:
                step = 1  # or each line with an open quote would parse all lines that follow
        self._line = number

    def _fed(self, lines: Sequence[bytes]) -> tuple[Sequence[str], bool]:
        """Return the lines as text for the parser, and whether they contain a quote."""
        text, self.is_valid = decoded(b"\n".join(lines), self.encoding)
        feed: Sequence[str] = text.split("\n")
        is_quoted = self._quote is not None and self._quote in text
        if is_quoted:
            feed = [f"{line}\n" for line in feed]  # a quoted field contains its line ends
        _allow_fields_of(len(text) if is_quoted and self._mode is RowLines.SPANNING else max(map(len, feed)))
        return feed, is_quoted

    def _failed(self, data: bytes, line: str, position: int, number: int | None, reason: str) -> Row:
        """Return the line at which parsing failed as a row that cannot be parsed.

        Raises:
            SourceError: If it is unclear whether the next row begins on the next line.
        """
        is_quoted = self._quote is not None and self._quote in line
        if is_quoted and self._mode is RowLines.UNKNOWN:
            raise self._doubt(position, number)
        if is_quoted and self._mode is RowLines.SPANNING:
            raise SourceError(
                f"{self._name}: malformed {_numbered(number)} near byte {position}: {reason}; where the next row "
                "begins is unclear: fix the quotes, specify quoted_newlines=False if no row spans lines, or "
                "quotechar=None if quotes are text"
            )
        if is_quoted:
            reason = (
                "a quote is not closed on its line, or does not enclose a whole field; if rows span lines, specify "
                "quoted_newlines=True; if quotes are text, quotechar=None"
            )
        else:
            reason = f"{reason.partition(' - ')[0]}: lines must end with LF or CR LF, not with CR (0x0D)"
        return Row(None, position, position + len(data) + 1, number, data, reason)

    def _is_doubtful(self, fields: Sequence[str], line: str) -> bool:
        """Return whether a quote of a line may begin or end a field that spans lines."""
        if self._mode is not RowLines.UNKNOWN or self._regular is None or self._quote is None:
            return False
        return self._quote in "".join(fields) and not self._regular.fullmatch(line)

    def _are_regular(self, text: str) -> bool:
        return self._regular is None or self._regular.fullmatch(text) is not None

    def _doubt(self, position: int, number: int | None) -> SourceError:
        return SourceError(
            f"{self._name}: malformed {_numbered(number)} near byte {position}: its quotes do not enclose whole "
            "fields; if rows span lines, specify quoted_newlines=True; if none does, quoted_newlines=False; if quotes "
            "are text, quotechar=None"
        )

    def _keep_unfinished(self, lines: Sequence[bytes], position: int) -> None:
        size = _size(lines)
        if size > MAX_SPANNING_BYTES:
            raise SourceError(
                f"{self._name}: the row near byte {position} spans lines and exceeds {MAX_SPANNING_BYTES:,} bytes: "
                "close its quotes, specify quoted_newlines=False if no row spans lines, or quotechar=None if quotes "
                "are text"
            )
        self._keep(lines, size)
        self._wait_bytes = 2 * size

    def _keep(self, lines: Sequence[bytes], size: int) -> None:
        self._unfinished, self._unfinished_bytes = lines, size


class CsvReader:
    """Reads the items of a part: a dict of strings by column for each row, or a bad row.

    Args:
        part: The part that is read: ``header``, the columns of the object; ``columns``, those of each item, if they
            differ; the dialect; and ``rows``, how rows relate to lines.
        name: The object, for errors.
        line: Number of the first line, from 1; None if it is unknown.
    """

    def __init__(self, part: Mapping[str, Any], name: str, line: int | None) -> None:
        self._part = part
        self._name = name
        self._header: Sequence[str] = part["header"]
        columns = part.get("columns", self._header)
        self._missing: dict[str, str | None] | None = None if columns == self._header else dict.fromkeys(columns)
        self._parser = RowParser(part, name, RowLines(part["rows"]), line)

    def items(self, lines: Sequence[bytes], position: int) -> Iterator[tuple[Any, int]]:
        """Yield the items of the rows that end in some lines; the mark of an item is the byte after its row.

        Raises:
            SourceError: If a row is bad and bad rows are not collected, or if it is unclear where the next row begins.
        """
        return chain.from_iterable(self._blocks(lines, position))

    def _blocks(self, lines: Sequence[bytes], position: int) -> Iterator[Iterator[tuple[Any, int]]]:
        """Yield the items of a few lines at a time; each iterator is exhausted before the next lines are parsed."""
        for first in range(0, len(lines), _BLOCK_LINES):
            block = lines[first : first + _BLOCK_LINES]
            yield self._block(block, position)
            position += _size(block)

    def _block(self, lines: Sequence[bytes], position: int) -> Iterator[tuple[Any, int]]:
        rows = self._parser.plain_rows(lines, len(self._header))
        if rows is None:
            return self._items(self._parser.rows(lines, position))
        items: Iterator[Any] = map(dict, map(zip, repeat(self._header), rows))
        if self._missing is not None:
            items = map(self._missing.__or__, items)
        ends = islice(accumulate((len(line) + 1 for line in lines), initial=position), 1, None)
        return zip(items, ends, strict=True)

    def last_items(self, position: int) -> Iterator[tuple[Any, int]]:
        """Yield the items that remain after the last lines of the part, which end before ``position``."""
        return self._items(self._parser.last_rows(position))

    def _items(self, rows: Iterator[Row]) -> Iterator[tuple[Any, int]]:
        parser, header, width, missing = self._parser, self._header, len(self._header), self._missing
        for row in rows:
            fields = row.fields
            if fields is None or len(fields) != width or not parser.is_valid:
                if fields is not None and not fields:
                    continue  # a blank line
                if reason := self._fault_in(row):
                    yield self._bad(row, reason), row.after
                    continue
            item = dict(zip(header, fields or (), strict=True))
            yield (item if missing is None else {**missing, **item}), row.after

    def _fault_in(self, row: Row) -> str:
        """Return why a row is bad; an empty string if it is not."""
        if row.fields is None:
            return row.reason
        if any(map(_SURROGATE.search, row.fields)):
            return decoding_error(row.data, self._parser.encoding)
        if len(row.fields) != len(self._header):
            return f"the row has {len(row.fields)} fields, but the header has {len(self._header)}"
        return ""

    def _bad(self, row: Row, reason: str) -> BadRow:
        text = row.data.removesuffix(b"\r").decode(self._parser.encoding, "replace")
        return bad_row(BadRow(self._name, row.begin, row.line, reason, text), self._part)


class _End:
    """An empty iterator that knows whether it was reached."""

    is_reached = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.is_reached = True
        raise StopIteration


def _size(lines: Sequence[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)


def _allow_fields_of(characters: int) -> None:
    if characters > csv.field_size_limit():
        csv.field_size_limit(characters)  # a setting of the whole process; only increased


def _regular_lines(delimiter: str, quote: str) -> re.Pattern[str]:
    """Return a pattern of lines in which quotes enclose whole fields, or are doubled inside such a field."""
    d, q = re.escape(delimiter), re.escape(quote)
    field = f"(?:{q}(?:[^{q}\\n]++|{q}{q})*+{q}|[^{q}{d}\\r\\n]*+)"
    return re.compile(f"(?:{field}(?:{d}{field})*+\\r?+\\n)*+")


def _numbered(line: int | None) -> str:
    return "line" if line is None else f"line {line}"
