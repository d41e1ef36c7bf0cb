"""Read the markers of a run in one pass: which of its segments have ended, and what they returned.

The first fold attempt records which markers count before it uses them, so that a repeated fold sees the same results.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from typing import Final

from fanfold._jobs.results import Results, make_tables
from fanfold._jobs.tally import Tally, tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import results_from_json
from fanfold._ports.run import Marker, Run
from fanfold.errors import FanfoldError, LedgerError, ObjectExistsError

_EMPTY: Final = """
    CREATE TABLE IF NOT EXISTS stored (marker TEXT, gen INTEGER, hops TEXT, key TEXT);
    DELETE FROM ends;
    DELETE FROM hops;
    DELETE FROM stored;
"""
_BROKEN: Final = """
    SELECT segment FROM ends WHERE hops > (SELECT count(*) FROM hops WHERE hops.segment = ends.segment) LIMIT 1
"""


async def collect(run: Run, total: int, backend: Backend, rows: sqlite3.Connection) -> Collected:
    """Read the markers of a run, once.

    Args:
        run: The run.
        total: Number of segments in the run.
        backend: Holds the ledger and the results.
        rows: A database for the results; its contents are replaced.
    """
    collected = Collected(run, total, backend, rows)
    await collected.read()
    return collected


class Collected:
    """The contents of a run's markers; the results are on disk."""

    def __init__(self, run: Run, total: int, backend: Backend, rows: sqlite3.Connection) -> None:
        self.tally: Tally = Tally(total)
        """Which segments have ended."""
        self._run = run
        self._backend = backend
        self._rows = rows
        self._markers: list[str] = []
        self._is_continued = False

    async def read(self, only: Collection[str] | None = None) -> None:
        """Read all markers, or only those with these ids, and discard what was read before."""
        make_tables(self._rows)
        self._rows.executescript(_EMPTY)
        self._markers, self._is_continued = [], False
        counts_items = "max_bad_rows" in self._run.plan  # a share of them
        self.tally = await tally_of(
            self._run, self.tally.total, self._backend, only=only, also=self._add, counts_items=counts_items
        )

    async def pin(self) -> None:
        """Restrict the results to the markers that the first attempt to reach this step has read.

        The markers are read again only if that attempt read different ones.

        Raises:
            FanfoldError: If a segment is missing in the pinned markers.
        """
        key = f"{self._run.prefix()}/markers.json"
        try:
            await self._backend.put_result(key, json.dumps(self._markers).encode(), if_absent=True)
        except ObjectExistsError:
            pinned = frozenset(json.loads(await self._backend.get_result(key)))
            if pinned != frozenset(self._markers):
                await self.read(pinned)
        if self.tally.missing:
            raise FanfoldError(f"run {self._run.id}: {self.tally.missing} segments are missing in the pinned markers")

    async def results(self) -> Results:
        """Return the results, in segment order.

        Raises:
            LedgerError: If a segment was continued and the results of its hops are missing.
        """
        for marker, gen, hops, key in self._rows.execute("SELECT marker, gen, hops, key FROM stored"):
            results = results_from_json(await self._backend.get_result(key))
            self._insert(marker, gen, {int(segment): count for segment, count in json.loads(hops).items()}, results)
        if self._is_continued:
            await self._insert_hops()
        return Results(self._rows)

    async def add_hops(self) -> None:
        """Count the items and the bad rows of the hops of continued segments; call it once, after ``pin``."""
        if self._is_continued:
            for gen in range(self._run.gen + 1):
                async for hop in self._backend.ledger.hops(self._run.id, gen):
                    self.tally.add_hop(hop)

    def _add(self, marker: Marker) -> None:
        self._markers.append(marker.id)
        self._is_continued = self._is_continued or bool(marker.hops)
        if marker.results_key is None:
            self._insert(marker.id, marker.gen, marker.hops, marker.results)
        else:  # fetched when all segments have ended
            stored = (marker.id, marker.gen, json.dumps(dict(marker.hops)), marker.results_key)
            self._rows.execute("INSERT INTO stored VALUES (?, ?, ?, ?)", stored)

    def _insert(self, marker: str, gen: int, hops: Mapping[int, int], results: Mapping[int, str]) -> None:
        """Insert results. If several markers hold a segment, the lowest marker id wins, in every attempt."""
        self._rows.executemany(
            "INSERT INTO ends VALUES (?, ?, ?, ?, ?) ON CONFLICT (segment) DO UPDATE SET gen = excluded.gen, "
            "hops = excluded.hops, marker = excluded.marker, result = excluded.result WHERE excluded.marker < marker",
            (
                (segment, gen, hops.get(segment, 0), marker, text)
                for segment, text in results.items()
                if 0 <= segment < self.tally.total
            ),
        )

    async def _insert_hops(self) -> None:
        """Insert the hops that precede the winning end: another delivery of the segment may have got further."""
        run, rows = self._run, self._rows
        for gen in range(run.gen + 1):
            async for hop in self._backend.ledger.hops(run.id, gen):
                end = rows.execute("SELECT hops FROM ends WHERE segment = ? AND gen = ?", (hop.segment, gen)).fetchone()
                if end is None or hop.number >= end[0]:
                    continue
                result = hop.result
                if result is None:
                    result = (await self._backend.get_result(str(hop.results_key))).decode()
                rows.execute("INSERT OR REPLACE INTO hops VALUES (?, ?, ?)", (hop.segment, hop.number, result))
        if broken := rows.execute(_BROKEN).fetchone():
            raise LedgerError(
                f"run {run.id}: segment {broken[0]} was continued, but not all of its hops are in the ledger"
            )
