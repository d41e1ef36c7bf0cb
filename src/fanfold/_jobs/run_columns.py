"""The ends and the failed attempts of a run's segments, as columns: a few numbers for each, and each text once."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fanfold._jobs.deliveries import END, FAILURE, Deliveries, Event
from fanfold._jobs.tally import Tally
from fanfold._ports.run import Attempt, Hop, Marker

MAX_ATTEMPTS: Final = 1_000_000
"""Attempts of which the details are kept: the first ones; all are counted."""
_UNKNOWN: Final = -1
_FIELDS: Final = 7


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """The end of a segment."""

    segment: int
    """Number of the segment."""
    gen: int
    """Generation in which it ended."""
    began_at: float | None
    """When its handler started, in the last part; seconds since 1970. None if unknown."""
    ended_at: float | None
    """When it ended, or when its failure was recorded; seconds since 1970. None if unknown."""
    seconds: float | None
    """How long the handler took, in all parts; None if unknown."""
    attempts: int
    """Deliveries of its messages in all generations, at least 1."""
    parts: int
    """Parts of the segment: hops and 1."""
    items: int | None
    """Items that the handler received, in all parts; None if unknown."""
    environment: str | None
    """Log stream of the execution environment; None if unknown."""
    reason: str | None
    """Why it failed permanently; None if it is done."""


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """A part of a segment that stopped before the deadline."""

    segment: int
    """Number of the segment."""
    gen: int
    """Generation of the run."""
    number: int
    """Number of the part, from 1."""
    began_at: float
    """When its handler started; seconds since 1970."""
    seconds: float
    """How long it took."""
    environment: str | None
    """Log stream of the execution environment; None if unknown."""


class Ends:
    """The ends of all segments, as columns."""

    def __init__(self, total: int) -> None:
        self.tally: Tally = Tally(total)
        """Which segments have ended."""
        self.deliveries: Deliveries = Deliveries(total)
        """The deliveries of all segments."""
        self._is_done = bytearray(total)
        self._gen = array("H", bytes(2 * total))
        self._hops = array("H", bytes(2 * total))
        self._began = array("d", [_UNKNOWN]) * total
        self._seconds = array("d", [_UNKNOWN]) * total
        self._ended = array("d", [_UNKNOWN]) * total
        self._items = array("q", [_UNKNOWN]) * total
        self._environment = array("L", bytes(array("L").itemsize * total))
        self._environments: dict[str, int] = {"": 0}
        self._part_numbers = array("Q")
        self._part_times = array("d")

    def add(self, marker: Marker) -> None:
        """Add the ends of a marker; the first end of a segment that is done stays."""
        environment = self._environments.setdefault(marker.environment or "", len(self._environments))
        for position, segment in enumerate(marker.ids):
            hops, count = marker.hops.get(segment, 0), marker.receive_counts.get(segment, 1)
            self.deliveries.add(segment, marker.gen, hops, Event(END, count, *marker.messages.get(segment, (0, 0))))
            if not 0 <= segment < len(self._is_done) or self._is_done[segment]:
                continue
            self._is_done[segment] = 1
            self._gen[segment], self._hops[segment] = min(marker.gen, 65_535), min(hops, 65_535)
            self._environment[segment] = environment
            self._set_times(segment, position, marker)
            if len(marker.items) == len(marker.ids):
                self._items[segment] = marker.items[position]
        for segment in marker.failed:
            hops, count = marker.hops.get(segment, 0), marker.receive_counts.get(segment, 1)
            if count:
                self.deliveries.add(segment, marker.gen, hops, Event(FAILURE, count))
            if 0 <= segment < len(self._is_done) and not self._is_done[segment]:
                self._gen[segment], self._hops[segment] = min(marker.gen, 65_535), min(hops, 65_535)
                self._ended[segment] = marker.ended_at or _UNKNOWN

    def _set_times(self, segment: int, position: int, marker: Marker) -> None:
        if len(marker.began_at) == len(marker.seconds) == len(marker.ids):
            self._began[segment], self._seconds[segment] = marker.began_at[position], marker.seconds[position]
            self._ended[segment] = marker.began_at[position] + marker.seconds[position]
        elif marker.ended_at is not None:
            self._ended[segment] = marker.ended_at

    def add_hop(self, hop: Hop) -> None:
        """Add the items and the time of a hop; call it after ``add``."""
        self.tally.add_hop(hop)
        self.deliveries.add(hop.segment, hop.gen, hop.number, Event(END, hop.receive_count, *hop.message))
        if 0 <= hop.segment < len(self._is_done) and hop.began_at is not None and hop.seconds is not None:
            environment = self._environments.setdefault(hop.environment or "", len(self._environments))
            self._part_numbers.extend((hop.segment, hop.gen, hop.number + 1, environment))
            self._part_times.extend((hop.began_at, hop.seconds))
        if 0 <= hop.segment < len(self._is_done) and self.tally.is_in_chain(hop, self._gen[hop.segment]):
            if self._items[hop.segment] != _UNKNOWN:
                self._items[hop.segment] += hop.items
            if hop.seconds is not None and self._seconds[hop.segment] != _UNKNOWN:
                self._seconds[hop.segment] += hop.seconds

    def ended_since(self, moment: float) -> int:
        """Return the number of segments that ended after a moment."""
        return sum(ended > moment for ended in self._ended)

    def continued(self) -> tuple[int, int]:
        """Return how many of the segments that have ended were continued, and the highest number of parts."""
        return sum(map(bool, self._hops)), max(self._hops, default=0) + 1

    def parts(self) -> Iterator[SegmentPart]:
        """Yield the parts before the last of continued segments, in any order."""
        environments = list(self._environments)
        for place in range(len(self._part_times) // 2):
            segment, gen, number, environment = self._part_numbers[4 * place : 4 * place + 4]
            began, seconds = self._part_times[2 * place : 2 * place + 2]
            yield SegmentPart(segment, gen, number, began, seconds, environments[environment] or None)

    def all(self) -> Iterator[SegmentEnd]:
        """Yield the end of each segment that has ended."""
        environments, failed = list(self._environments), self.tally.failed
        for segment in range(self.tally.total):
            if not self.tally.has_ended(segment):
                continue
            yield SegmentEnd(
                segment=segment,
                gen=self._gen[segment],
                began_at=_known(self._began[segment]),
                ended_at=_known(self._ended[segment]),
                seconds=_known(self._seconds[segment]),
                attempts=max(1, self.deliveries.by_segment[segment]),
                parts=self._hops[segment] + 1,
                items=None if self._items[segment] == _UNKNOWN else self._items[segment],
                environment=environments[self._environment[segment]] or None,
                reason=failed.get(segment),
            )


class Attempts:
    """Failed attempts, as columns; each text once."""

    def __init__(self, total: int) -> None:
        self._last = array("l", [_UNKNOWN]) * total
        self._numbers = array("Q")
        self._times = array("d")
        self._texts: dict[tuple[Any, ...], int] = {}
        self._text_list: list[tuple[Any, ...]] = []

    def add(self, attempt: Attempt) -> None:
        """Add an attempt; one of a segment outside the run is ignored."""
        if not 0 <= attempt.segment < len(self._last) or len(self._numbers) >= _FIELDS * MAX_ATTEMPTS:
            return
        place = len(self._numbers) // _FIELDS
        texts = (
            attempt.error,
            attempt.message,
            attempt.place,
            attempt.request_id,
            attempt.log_stream,
            attempt.max_number,
        )
        number = self._texts.setdefault(texts, len(self._texts))
        if number == len(self._text_list):
            self._text_list.append(texts)
        fields = (attempt.segment, attempt.gen, attempt.hop, attempt.number, number, attempt.tag, attempt.earlier)
        self._numbers.extend(fields)
        self._times.extend((attempt.began_at, attempt.seconds))
        last = self._last[attempt.segment]
        if last == _UNKNOWN or self._order(last) <= self._order(place):
            self._last[attempt.segment] = place

    def last(self, segment: int) -> Attempt | None:
        """Return the last attempt of a segment; None if there is none."""
        place = self._last[segment]
        return None if place == _UNKNOWN else self._at(place)

    def last_of(self, gen: int) -> list[int]:
        """Return the segments whose last attempt was in a generation; ascending."""
        return [
            segment
            for segment, place in enumerate(self._last)
            if place != _UNKNOWN and self._numbers[_FIELDS * place + 1] == gen
        ]

    def all(self) -> Iterator[Attempt]:
        """Yield the attempts."""
        return map(self._at, range(len(self._numbers) // _FIELDS))

    def _order(self, place: int) -> tuple[int, float]:
        return self._numbers[_FIELDS * place + 1], self._times[2 * place] + self._times[2 * place + 1]

    def _at(self, place: int) -> Attempt:
        segment, gen, hop, number, texts, *message = self._numbers[_FIELDS * place : _FIELDS * (place + 1)]
        times: list[Any] = [*self._times[2 * place : 2 * place + 2]]
        return Attempt(segment, gen, hop, number, *times, *self._text_list[texts], *message)


def _known(number: float) -> float | None:
    return None if number == _UNKNOWN else number
