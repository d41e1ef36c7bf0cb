"""Read the markers of a run in one pass: which of its segments have ended, and what they returned.

The first fold attempt records which markers count before it uses them, so that a repeated fold sees the same results.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from fanfold._base.log import logger
from fanfold._jobs.results import Results, make_tables
from fanfold._jobs.tally import Tally, hops_of, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import decode_ids, encode_ids, results_from_json
from fanfold._ports.run import Marker, Run
from fanfold.errors import LedgerError, ObjectExistsError, ObjectMissingError

_EMPTY: Final = """
    CREATE TABLE IF NOT EXISTS stored (marker TEXT, gen INTEGER, hops TEXT, ids TEXT, key TEXT);
    DELETE FROM ends;
    DELETE FROM hops;
    DELETE FROM stored;
"""
_INSERT: Final = """
    INSERT INTO ends VALUES (?, ?, ?, ?, ?) ON CONFLICT (segment) DO UPDATE SET gen = excluded.gen,
    hops = excluded.hops, marker = excluded.marker, result = excluded.result
    WHERE excluded.gen > gen OR (excluded.gen = gen AND excluded.marker < marker)
"""
"""If several markers hold a segment, that of the last generation wins, and of those the lowest id, in every attempt."""
_INVALID: Final = """
    SELECT segment, result FROM ends WHERE NOT json_valid(result)
    UNION ALL SELECT segment, result FROM hops WHERE NOT json_valid(result)
"""
_BROKEN: Final = """
    SELECT segment FROM ends WHERE hops > (SELECT count(*) FROM hops WHERE hops.segment = ends.segment)
"""
_MAX_LOGGED: Final = 3
NO_RESULT: Final = "its result is not in the ledger"
"""Reason of a segment that is done, but without a result."""


async def collect(run: Run, total: int, backend: Backend, rows: sqlite3.Connection, *, counted: int = 0) -> Collected:
    """Read the markers of a run, once.

    Args:
        run: The run.
        total: Number of segments in the run.
        backend: Holds the ledger and the results.
        rows: A database for the results; its contents are replaced.
        counted: The counter of ended segments, read before.
    """
    collected = Collected(run, total, backend, rows, counted)
    await collected.read()
    return collected


class Collected:
    """The contents of a run's markers; the results are on disk.

    What is damaged costs its segments, which count as failed: a marker that cannot be read, when all segments that it
    may hold have ended; a result that is missing, or not JSON; a hop that is missing. A redrive processes them again.
    """

    def __init__(self, run: Run, total: int, backend: Backend, rows: sqlite3.Connection, counted: int) -> None:
        self.tally: Tally = Tally(total)
        """Which segments have ended."""
        self._run = run
        self._backend = backend
        self._rows = rows
        self._counted = counted
        self._markers: list[str] = []
        self._is_continued = False
        self._lost: dict[int, str] = {}

    async def read(self, only: Collection[str] | None = None) -> None:
        """Read all markers, or only those with these ids, and discard what was read before."""
        make_tables(self._rows)
        self._rows.executescript(_EMPTY)
        self._markers, self._is_continued, self._lost = [], False, {}
        counts_items = "max_bad_rows" in self._run.plan  # a share of them
        self.tally = await tally_of(
            self._run, self.tally.total, self._backend, only=only, also=self._add, counts_items=counts_items
        )
        for damaged in self.tally.unreadable[:_MAX_LOGGED]:
            logger.error("run %s: %s", self._run.id, damaged.reason)
        self._fail_missing(is_pinned=only is not None)

    def _fail_missing(self, *, is_pinned: bool) -> None:
        """Count the missing segments as failed if markers that cannot be read hold as many ends."""
        tally = self.tally
        damaged = tally.unreadable[0].reason if tally.unreadable else ""
        if is_pinned:
            tally.fail(tally.missing_segments(), f"its end is not in the pinned markers. {damaged}".strip())
        elif damaged and self._counted - tally.counted - tally.uncounted >= tally.missing:
            tally.fail(tally.missing_segments(), f"its end cannot be read: {damaged}")

    async def pin(self) -> None:
        """Restrict the results to the markers that the first attempt to reach this step has read.

        The markers are read again only if that attempt read different ones.
        """
        key = f"{self._run.prefix()}/markers.json"
        try:
            await self._backend.put_result(key, json.dumps(self._markers).encode(), if_absent=True)
        except ObjectExistsError:
            pinned = _names_in(await self._backend.get_result(key))
            if pinned is None:
                logger.warning("run %s: %s is damaged; the fold uses all markers", self._run.id, key)
            elif pinned != frozenset(self._markers):
                await self.read(pinned)

    async def results(self) -> Results:
        """Return the results, in segment order. A segment whose result is lost counts as failed afterwards."""
        stored = self._rows.execute("SELECT marker, gen, hops, ids, key FROM stored").fetchall()
        for marker, gen, hops, ids, key in stored:
            results = await self._stored_results(key, decode_ids(ids))
            self._insert(marker, gen, {int(segment): count for segment, count in json.loads(hops).items()}, results)
        if self._is_continued:
            await self._insert_hops()
        self._remove_invalid()
        self._fail_lost()
        return Results(self._rows)

    async def _stored_results(self, key: str, ids: Sequence[int]) -> dict[int, str]:
        """Return the results in an object that are of these segments."""
        reason, results = f"its result is not in {key}", {}
        try:
            results = results_from_json(await self._backend.get_result(key))
        except (ObjectMissingError, LedgerError, ValueError, TypeError, AttributeError) as error:
            reason = f"its result cannot be read: {key}: {error}"
        self._lost.update({segment: reason for segment in ids if segment not in results})
        return {segment: results[segment] for segment in ids if segment in results}

    async def add_hops(self) -> None:
        """Count the items and the bad rows of the hops of continued segments; call it once, after ``pin``."""
        if self._is_continued:
            async for hop in hops_of(self._run, self._backend, self.tally.unreadable):
                self.tally.add_hop(hop)

    def _add(self, marker: Marker) -> None:
        self._markers.append(marker.id)
        self._is_continued = self._is_continued or bool(marker.hops)
        if marker.results_key is None:
            ids = frozenset(marker.ids)
            results = {segment: text for segment, text in marker.results.items() if segment in ids}
            self._insert(marker.id, marker.gen, marker.hops, results)
        else:  # fetched when all segments have ended
            hops, ids_text = json.dumps(dict(marker.hops)), encode_ids(marker.ids)
            values = (marker.id, marker.gen, hops, ids_text, marker.results_key)
            self._rows.execute("INSERT INTO stored VALUES (?, ?, ?, ?, ?)", values)

    def _insert(self, marker: str, gen: int, hops: Mapping[int, int], results: Mapping[int, str]) -> None:
        self._rows.executemany(
            _INSERT,
            (
                (segment, gen, hops.get(segment, 0), marker, text)
                for segment, text in results.items()
                if 0 <= segment < self.tally.total
            ),
        )

    async def _insert_hops(self) -> None:
        """Insert the hops that precede the winning end: another delivery of the segment may have got further."""
        rows = self._rows
        async for hop in hops_of(self._run, self._backend, self.tally.unreadable):
            end = rows.execute("SELECT hops, gen FROM ends WHERE segment = ?", (hop.segment,)).fetchone()
            if end is None or hop.number >= end[0] or not self.tally.is_in_chain(hop, end[1]):
                continue
            result = hop.result
            if result is None:
                with suppress(ObjectMissingError, UnicodeDecodeError):  # reported below, as a missing hop
                    result = (await self._backend.get_result(str(hop.results_key))).decode()
            if result is not None:
                rows.execute("INSERT OR REPLACE INTO hops VALUES (?, ?, ?)", (hop.segment, hop.number, result))
        for (segment,) in rows.execute(_BROKEN).fetchall():
            self._lose(segment, "it was continued, but not all of its hops are in the ledger")

    def _remove_invalid(self) -> None:
        try:
            suspects = self._rows.execute(_INVALID).fetchall()
        except sqlite3.OperationalError:  # pragma: no cover - sqlite before 3.38, built without its JSON functions
            return
        for segment, text in suspects:  # sqlite limits the depth of JSON more than Python does
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                self._lose(segment, "its result in the ledger is not JSON")

    def _lose(self, segment: int, reason: str) -> None:
        self._lost[segment] = reason
        self._rows.execute("DELETE FROM ends WHERE segment = ?", (segment,))
        self._rows.execute("DELETE FROM hops WHERE segment = ?", (segment,))

    def _fail_lost(self) -> None:
        """Count segments that are done, but have no result, as failed."""
        (results,) = self._rows.execute("SELECT count(*) FROM ends").fetchone()
        if results == self.tally.done:
            return
        has_result = bytearray(self.tally.total)
        for (segment,) in self._rows.execute("SELECT segment FROM ends"):
            has_result[segment] = 1
        lost = [segment for segment in self.tally.done_segments() if not has_result[segment]]
        logger.error("run %s: the results of %d segments are lost", self._run.id, len(lost))
        for segment in lost:
            self.tally.fail([segment], self._lost.get(segment, NO_RESULT))


def _names_in(data: bytes) -> frozenset[str] | None:
    """Return the ids of the pinned markers; None if the object is damaged."""
    try:
        names = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return frozenset(names)
