"""The results of a run, in segment order, on disk: more than memory holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from fanfold._base.threads import StillRunningError
from fanfold._jobs.generations import markers_of
from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import results_from_json
from fanfold._ports.run import Marker, Run
from fanfold.errors import LedgerError

__all__ = ["Results", "Rows", "closing", "collect", "make_tables", "opened", "put_results"]

_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS ends (segment INTEGER PRIMARY KEY, gen INTEGER, hops INTEGER, marker TEXT, result TEXT);
    CREATE TABLE IF NOT EXISTS hops (segment INTEGER, hop INTEGER, result TEXT, PRIMARY KEY (segment, hop))
        WITHOUT ROWID;
"""
_CHAINS: Final = """
    SELECT segment, hops AS hop, result FROM ends
    UNION ALL SELECT segment, hop, result FROM hops
"""
_BROKEN: Final = """
    SELECT segment FROM ends WHERE hops > (SELECT count(*) FROM hops WHERE hops.segment = ends.segment) LIMIT 1
"""


class Rows(sqlite3.Connection):
    """A database that is closed, at the latest, when nobody reads it any more."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # of one that could not be opened
            self.close()


@contextmanager
def closing(rows: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Close a database at the end; one that a thread reads that was given up is left to be dropped by that.

    To close it under a query would end the process.
    """
    try:
        yield rows
    except StillRunningError:
        raise
    except BaseException:
        rows.close()
        raise
    rows.close()


@contextmanager
def opened() -> Iterator[sqlite3.Connection]:
    """Yield an empty database on disk, which sqlite removes by itself; it sorts more than memory holds."""
    with closing(sqlite3.connect("", check_same_thread=False, factory=Rows)) as rows:
        yield rows


class Results:
    """All results of a run, in segment order; to be iterated, plainly or with ``async for``, as often as needed.

    There is one for each segment, and for one that was continued, one for each hop, in order.
    """

    def __init__(self, rows: sqlite3.Connection) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return map(json.loads, self.texts())

    def texts(self) -> Iterator[str]:
        """Yield them as the JSON they were kept in."""
        for (text,) in self._rows.execute(f"SELECT result FROM ({_CHAINS}) ORDER BY segment, hop"):  # noqa: S608 - ours
            yield text

    async def __aiter__(self) -> AsyncIterator[Any]:
        for result in self:
            yield result

    def __len__(self) -> int:
        return int(self._rows.execute(f"SELECT count(*) FROM ({_CHAINS})").fetchone()[0])  # noqa: S608 - ours


def make_tables(rows: sqlite3.Connection) -> None:
    """Make the tables that ``Results`` reads, where they are not there: ``ends`` and, for its parts, ``hops``."""
    rows.executescript(_TABLES)


def put_results(rows: sqlite3.Connection, results: Iterable[tuple[int, str]]) -> None:
    """Enter results, each with its place among the others."""
    rows.executemany("INSERT INTO ends VALUES (?, 0, 0, '', ?)", results)


async def collect(run: Run, pinned: Collection[str], total: int, backend: Backend, rows: sqlite3.Connection) -> Results:
    """Return the results of a run.

    Args:
        run: The run.
        pinned: Names of the markers that count.
        total: Segments of the run.
        backend: Where its ledger and its results are.
        rows: An empty database.

    Raises:
        LedgerError: If a segment was continued and the results of its hops are not there.
    """
    make_tables(rows)
    continued = False
    async for marker in markers_of(run, backend):
        if marker.id in pinned:
            continued = continued or bool(marker.hops)
            _insert(rows, marker, await _results_of(marker, backend), total)
    if continued:
        await _insert_hops(rows, run, backend)
    return Results(rows)


async def _results_of(marker: Marker, backend: Backend) -> Mapping[int, str]:
    if marker.results_key is None:
        return marker.results
    return results_from_json(await backend.get_result(marker.results_key))


def _insert(rows: sqlite3.Connection, marker: Marker, results: Mapping[int, str], total: int) -> None:
    """Of several markers that hold a segment, the one whose name sorts first wins: the same in every try."""
    rows.executemany(
        "INSERT INTO ends VALUES (?, ?, ?, ?, ?) ON CONFLICT (segment) DO UPDATE SET gen = excluded.gen, "
        "hops = excluded.hops, marker = excluded.marker, result = excluded.result WHERE excluded.marker < marker",
        (
            (segment, marker.gen, marker.hops.get(segment, 0), marker.id, text)
            for segment, text in results.items()
            if 0 <= segment < total
        ),
    )


async def _insert_hops(rows: sqlite3.Connection, run: Run, backend: Backend) -> None:
    """Take the hops before the end that won: another delivery of the segment may have gone further by itself."""
    for gen in range(run.gen + 1):
        async for hop in backend.ledger.hops(run.id, gen):
            end = rows.execute("SELECT hops FROM ends WHERE segment = ? AND gen = ?", (hop.segment, gen)).fetchone()
            if end is None or hop.number >= end[0]:
                continue
            result = hop.result
            if result is None:
                result = (await backend.get_result(str(hop.results_key))).decode()
            rows.execute("INSERT OR REPLACE INTO hops VALUES (?, ?, ?)", (hop.segment, hop.number, result))
    if broken := rows.execute(_BROKEN).fetchone():
        raise LedgerError(f"run {run.id}: segment {broken[0]} was continued, and not all of its hops are in the ledger")
