"""The segments of a run as columns of numbers: one pass, and about 60 bytes for each segment and failed delivery."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from fanfold._jobs.run_columns import SegmentEnd, SegmentPart
from fanfold._ports.run import Attempt

DONE, FAILED, ATTEMPT, PART = 0, 1, 2, 3
"""Kinds of rows: a segment that is done, a segment that failed permanently, a delivery that failed, and a part of a
segment that stopped before the deadline."""
KINDS: Final = ("done", "failed permanently", "failed attempt", "continued")
STYLES: Final = ("done", "failed", "attempt", "part")
"""CSS classes by kind."""
UNKNOWN: Final = -1
"""Number of items of a segment if it is not known."""
_LABEL_CHARACTERS: Final = 10


class Columns:
    """A row for each end of a segment and each failed delivery, as columns; the rows are in no particular order."""

    def __init__(self) -> None:
        self.kind: bytearray = bytearray()
        """Kind of each row."""
        self.segment: array[int] = array("q")
        """Number of the segment."""
        self.gen: array[int] = array("l")
        """Generation."""
        self.began: array[float] = array("d")
        """When processing of the last part began, in seconds since 1970; NaN if unknown."""
        self.ended: array[float] = array("d")
        """When it ended, in seconds since 1970; NaN if unknown."""
        self.seconds: array[float] = array("d")
        """Duration of all parts; NaN if unknown."""
        self.items: array[int] = array("q")
        """Number of items; ``UNKNOWN`` if unknown."""
        self.tries: array[int] = array("l")
        """Deliveries that the last part took, at least, or the number of this delivery."""
        self.parts: array[int] = array("l")
        """Parts of the segment: 1 unless it was continued."""
        self.environment: array[int] = array("l")
        """Index of the execution environment in ``environments``."""
        self.environments: list[str | None] = []
        """Names of the execution environments."""
        self._indexes: dict[str | None, int] = {}
        self._untimed: dict[tuple[int, int], tuple[int, int]] = {}

    @classmethod
    def of(cls, ends: Iterable[SegmentEnd], attempts: Iterable[Attempt], parts: Iterable[SegmentPart] = ()) -> Columns:
        """Return the columns of the ended segments, the failed deliveries, and the parts of continued segments."""
        columns = cls()
        for end in ends:
            columns._add_end(end)
        for attempt in attempts:
            columns._add_attempt(attempt)
        for part in parts:
            columns._add_part(part)
        columns._move_times()
        return columns

    def __len__(self) -> int:
        return len(self.kind)

    def rows(self, *kinds: int) -> Iterator[int]:
        """Yield the indexes of the rows of some kinds."""
        return (row for row, kind in enumerate(self.kind) if kind in kinds)

    def of_generation(self, gen: int) -> list[int]:
        """Return the rows of a generation of which the end is known."""
        pairs = enumerate(zip(self.gen, self.ended, strict=True))
        return [row for row, (number, ended) in pairs if number == gen and not math.isnan(ended)]

    def with_begin(self, rows: Iterable[int]) -> list[int]:
        """Return those of some rows of which the begin is known, in order of their begin."""
        return sorted((row for row in rows if not math.isnan(self.began[row])), key=self.began.__getitem__)

    def _add_end(self, end: SegmentEnd) -> None:
        kind = DONE if end.reason is None else FAILED
        if kind == FAILED and end.began_at is None:
            self._untimed[end.gen, end.segment] = (len(self), UNKNOWN)
        self._add(kind, end.segment, end.gen, end.environment)
        self._add_times(end.began_at, end.ended_at, end.seconds)
        self.items.append(UNKNOWN if end.items is None else end.items)
        self.tries.append(max(1, end.attempts - (end.parts - 1)))  # each part takes a delivery
        self.parts.append(end.parts)

    def _add_attempt(self, attempt: Attempt) -> None:
        end, last = self._untimed.get((attempt.gen, attempt.segment), (UNKNOWN, UNKNOWN))
        if end != UNKNOWN and (last == UNKNOWN or self.began[last] < attempt.began_at):
            self._untimed[attempt.gen, attempt.segment] = (end, len(self))
        self._add(ATTEMPT, attempt.segment, attempt.gen, attempt.log_stream)
        self._add_times(attempt.began_at, attempt.began_at + attempt.seconds, attempt.seconds)
        self.items.append(UNKNOWN)
        self.tries.append(attempt.number)
        self.parts.append(attempt.hop + 1)

    def _add_part(self, part: SegmentPart) -> None:
        self._add(PART, part.segment, part.gen, part.environment)
        self._add_times(part.began_at, part.began_at + part.seconds, part.seconds)
        self.items.append(UNKNOWN)
        self.tries.append(0)
        self.parts.append(part.number)

    def _add(self, kind: int, segment: int, gen: int, environment: str | None) -> None:
        self.kind.append(kind)
        self.segment.append(segment)
        self.gen.append(gen)
        self.environment.append(self._index(environment))

    def _add_times(self, began: float | None, ended: float | None, seconds: float | None) -> None:
        for column, value in ((self.began, began), (self.ended, ended), (self.seconds, seconds)):
            column.append(math.nan if value is None else value)

    def _move_times(self) -> None:
        """Show the last attempt of a segment that failed permanently as its end, which has no times."""
        for end, last in self._untimed.values():
            if last != UNKNOWN:
                for column in (self.began, self.ended, self.seconds):
                    column[end], column[last] = column[last], math.nan
                self.environment[end] = self.environment[last]

    def _index(self, environment: str | None) -> int:
        index = self._indexes.get(environment)
        if index is None:
            index = self._indexes[environment] = len(self.environments)
            self.environments.append(environment)
        return index


def short(name: str) -> str:
    """Return the part of the name of an execution environment that distinguishes it, such as that of a log stream."""
    return name.rpartition("]")[2].rpartition("/")[2][:_LABEL_CHARACTERS]
