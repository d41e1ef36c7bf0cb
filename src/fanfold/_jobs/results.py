"""The results of a run, in segment order, on disk: more than memory holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias

from fanfold._base.threads import StillRunningError

_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS ends (segment INTEGER PRIMARY KEY, gen INTEGER, hops INTEGER, marker TEXT, result TEXT);
    CREATE TABLE IF NOT EXISTS hops (segment INTEGER, hop INTEGER, result TEXT, PRIMARY KEY (segment, hop))
        WITHOUT ROWID;
"""
_CHAINS: Final = """
    SELECT segment, hops AS hop, result FROM ends
    UNION ALL SELECT segment, hop, result FROM hops
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


@contextmanager
def results_of(texts: Iterable[str]) -> Iterator[Results]:
    """Yield results that are there as JSON texts, in order."""
    with opened() as rows:
        make_tables(rows)
        put_results(rows, enumerate(texts))
        yield Results(rows)


FoldFunction: TypeAlias = Callable[[Results], Any]
"""A user's fold: all results of a run in; one JSON value or a ``File`` out, or rows, one by one. Plain or async."""
