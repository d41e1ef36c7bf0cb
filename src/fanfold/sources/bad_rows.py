"""Rows that cannot be read, in any source: they fail their segment, or are collected.

A source whose setting ``on_bad_row`` is ``collect`` writes ``"on_bad_row": "collect"`` into each part, and
``max_bad_rows`` into its plan, unless it is None. When it reads such a part, it yields a ``BadRow`` in place of an
item. The handler does not receive it; the job stores and counts it, and compares the count with ``max_bad_rows``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from fanfold.errors import ConfigurationError, SourceError

ON_BAD_ROW: Final = ("fail", "collect")
"""Values of the setting ``on_bad_row``."""
_TEXT_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read."""

    object: str
    """The object, as ``s3://bucket/key``."""
    byte: int
    """Position of its first byte; in a compressed object, or one in an encoding such as UTF-16, of the content as
    decompressed UTF-8."""
    line: int | None
    """Number of its first line, from 1; None if reading began in the middle of the object."""
    reason: str
    """Why it cannot be read."""
    text: str = ""
    """The row, truncated to 500 characters; characters that cannot be decoded are replaced."""

    def to_json(self) -> str:
        """Return the row as one line of JSON."""
        return json.dumps({**asdict(self), "text": self.text[:_TEXT_CHARACTERS]})

    def error(self) -> SourceError:
        """Return the error that fails the segment if bad rows are not collected."""
        line = "line" if self.line is None else f"line {self.line}"
        return SourceError(f"{self.object}: malformed {line} near byte {self.byte}: {self.reason}")


def bad_row(row: BadRow, part: Mapping[str, Any]) -> BadRow:
    """Return a bad row, to be yielded in place of an item, if the part that is read collects them.

    Raises:
        SourceError: If bad rows fail the segment.
    """
    if part.get("on_bad_row") != "collect":
        hint = "to continue without such rows, specify on_bad_row='collect'"
        raise replace(row, reason=f"{row.reason}; {hint}").error()
    return row


def check_on_bad_row(source: str, on_bad_row: object, max_bad_rows: object) -> None:
    """Check the settings of a source.

    Args:
        source: Name of the source, for errors.
        on_bad_row: ``fail`` or ``collect``.
        max_bad_rows: Maximum number of bad rows in a run as an integer, or their share of all rows as a float from 0.0
            to below 1; None for any number.

    Raises:
        ConfigurationError: If a value is invalid, or ``max_bad_rows`` is set and bad rows are not collected.
    """
    if on_bad_row not in ON_BAD_ROW:
        raise ConfigurationError(f"{source}: on_bad_row must be 'fail' or 'collect', not {on_bad_row!r}")
    if max_bad_rows is None:
        return
    if on_bad_row == "fail":
        raise ConfigurationError(f"{source}: max_bad_rows requires on_bad_row='collect'; with 'fail', the maximum is 0")
    whole = type(max_bad_rows) is int and max_bad_rows >= 0
    if not whole and not (isinstance(max_bad_rows, float) and 0 <= max_bad_rows < 1):
        raise ConfigurationError(
            f"{source}: max_bad_rows must be an integer of at least 0, or a float from 0.0 to below 1, "
            f"not {max_bad_rows!r}"
        )


def excess_of(plan: Mapping[str, Any], bad_rows: int, items: int) -> str | None:
    """Return why the bad rows of a run are too many; None if they are not.

    Args:
        plan: The plan of the run.
        bad_rows: Number of bad rows.
        items: Number of rows that were read.
    """
    most = plan.get("max_bad_rows")
    if most is None or not bad_rows:
        return None
    total = bad_rows + items
    if bad_rows <= (most * total if isinstance(most, float) else most):
        return None
    return f"{bad_rows:,} of {total:,} rows are bad, more than max_bad_rows={most} allows"
