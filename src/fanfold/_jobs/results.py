"""The results of a run, in segment order; stored on disk because they may not fit into memory."""

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
_ENDS: Final = "SELECT result FROM ends ORDER BY segment"
_CHAINS: Final = """
    SELECT segment, hops AS hop, result FROM ends
    UNION ALL SELECT segment, hop, result FROM hops
"""


class Rows(sqlite3.Connection):
    """A database connection that closes itself when it is garbage-collected."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # raised by a connection that could not be opened
            self.close()


@contextmanager
def closing(rows: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Close a database at the end, unless an abandoned thread still reads it: closing it then would crash the process.

    In that case, it is closed when the thread drops its reference.
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
    """Yield an empty database on disk, which sqlite deletes by itself; it can sort more rows than fit into memory."""
    with closing(sqlite3.connect("", check_same_thread=False, factory=Rows)) as rows:
        yield rows


class Results:
    """All results of a run, in segment order. Iterate with ``for`` or ``async for``, as often as needed.

    Each segment has one result; a continued segment has one result per hop, in order.
    """

    def __init__(self, rows: sqlite3.Connection) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return map(json.loads, self.texts())

    def texts(self) -> Iterator[str]:
        """Yield the results as stored JSON texts, which are not parsed."""
        is_continued = self._rows.execute("SELECT EXISTS (SELECT 1 FROM hops)").fetchone()[0]
        query = f"SELECT result FROM ({_CHAINS}) ORDER BY segment, hop" if is_continued else _ENDS  # noqa: S608 - constants
        for (text,) in self._rows.execute(query):
            yield text

    async def __aiter__(self) -> AsyncIterator[Any]:
        for result in self:
            yield result

    def __len__(self) -> int:
        return int(self._rows.execute(f"SELECT count(*) FROM ({_CHAINS})").fetchone()[0])  # noqa: S608 - a constant


def make_tables(rows: sqlite3.Connection) -> None:
    """Create the tables that ``Results`` reads unless they exist: ``ends``, and ``hops`` for continued segments."""
    rows.executescript(_TABLES)


def put_results(rows: sqlite3.Connection, results: Iterable[tuple[int, str]]) -> None:
    """Insert results, each with its position."""
    rows.executemany("INSERT INTO ends VALUES (?, 0, 0, '', ?)", results)


@contextmanager
def results_of(texts: Iterable[str]) -> Iterator[Results]:
    """Yield results from JSON texts, in order."""
    with opened() as rows:
        make_tables(rows)
        put_results(rows, enumerate(texts))
        yield Results(rows)


FoldFunction: TypeAlias = Callable[[Results], Any]
"""A user's fold. Takes all results of a run; returns one JSON value or a ``File``, or yields rows. May be async."""
