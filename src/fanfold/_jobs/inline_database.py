"""The database of a run in this process, a single file: its plan, results, and failures."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from fanfold._jobs.overlay import overlay
from fanfold._jobs.results import Results, Rows, closing, make_tables
from fanfold._jobs.segment_count import count_segments
from fanfold._jobs.segment_result import Timing
from fanfold._ports.run import Attempt, BadRows, Counter, FailedBatch, Hop, Marker, Run, RunState
from fanfold._ports.stores import ObjectInfo, Store
from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError

DATABASE_BUCKET: Final = "_kept"
"""Placeholder for the results bucket; not a valid bucket name."""
ENVIRONMENT: Final = "this process"
"""Name of the execution environment of an inline run."""
_CHUNK_BYTES: Final = 1_048_576
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS run (document TEXT);
    CREATE TABLE IF NOT EXISTS items (segment INTEGER PRIMARY KEY, items INTEGER);
    CREATE TABLE IF NOT EXISTS failures (segment INTEGER PRIMARY KEY, reason TEXT);
    CREATE TABLE IF NOT EXISTS bad_rows (segment INTEGER PRIMARY KEY, count INTEGER, key TEXT);
    CREATE TABLE IF NOT EXISTS times (segment INTEGER PRIMARY KEY, began_at REAL, seconds REAL);
    CREATE TABLE IF NOT EXISTS attempts (
        segment INTEGER, number INTEGER, began_at REAL, seconds REAL, error TEXT, message TEXT, place TEXT
    );
    CREATE TABLE IF NOT EXISTS run_end (state TEXT, ended_at REAL, failed INTEGER, reason TEXT);
    CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, etag TEXT, data BLOB);
"""


class InlineRunDatabase:
    """The stored progress of one run. Every method has written to disk when it returns."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def run(self) -> Run | None:
        """Return the run with its stored plan; None if it is not planned yet."""
        row = self._database.execute("SELECT document FROM run").fetchone()
        if row is None:
            return None
        document = json.loads(row[0])
        run = Run(document.pop("run"), **document)
        end = self._database.execute("SELECT state, ended_at, failed FROM run_end").fetchone()
        return run if end is None else replace(run, state=RunState(end[0]), ended_at=end[1], failed=end[2])

    def begin(self, run: Run) -> None:
        """Store the plan of a new run."""
        fields = ("job", "params", "plan", "created_at", "expires_at")
        document = {"run": run.id, **{name: getattr(run, name) for name in fields}}
        self._database.execute("INSERT INTO run VALUES (?)", (json.dumps(document),))

    def end(self, state: RunState | None, ended_at: float, failed: int = 0, reason: str | None = None) -> None:
        """Store how a call that processed segments has ended, and why it failed after them; None when one begins."""
        self._database.execute("BEGIN")
        self._database.execute("DELETE FROM run_end")
        if state is not None:
            self._database.execute("INSERT INTO run_end VALUES (?, ?, ?, ?)", (state, ended_at, failed, reason))
        self._database.execute("COMMIT")

    def failure(self) -> str | None:
        """Return why the run failed although its segments did not; None if that is not so."""
        row = self._database.execute("SELECT reason FROM run_end").fetchone()
        return None if row is None else row[0]

    def done(
        self, segment: int, result: str, items: int, bad_rows: BadRows | None = None, timing: Timing | None = None
    ) -> None:
        """Store the result of a segment as JSON text; replaces an earlier result or failure."""
        self._database.execute("BEGIN")
        if timing is not None:
            times = (segment, round(timing.began_at, 3), round(timing.seconds, 3))
            self._database.execute("INSERT OR REPLACE INTO times VALUES (?, ?, ?)", times)
        self._database.execute("INSERT OR REPLACE INTO ends VALUES (?, 0, 0, '', ?)", (segment, result))
        self._database.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (segment, items))
        self._database.execute("DELETE FROM failures WHERE segment = ?", (segment,))
        self._database.execute("DELETE FROM bad_rows WHERE segment = ?", (segment,))
        if bad_rows is not None:
            values = (segment, bad_rows.count, bad_rows.key)
            self._database.execute("INSERT INTO bad_rows VALUES (?, ?, ?)", values)
        self._database.execute("COMMIT")

    def failed(self, segment: int, reason: str, attempt: Attempt | None = None) -> None:
        """Store why a segment failed, and its attempt; deletes an earlier result."""
        self._database.execute("BEGIN")
        if attempt is not None:
            values = (attempt.began_at, attempt.seconds, attempt.error, attempt.message, attempt.place)
            number = self.attempts(segment) + 1
            self._database.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)", (segment, number, *values))
        self._database.execute("DELETE FROM times WHERE segment = ?", (segment,))
        self._database.execute("DELETE FROM ends WHERE segment = ?", (segment,))
        self._database.execute("DELETE FROM items WHERE segment = ?", (segment,))
        self._database.execute("DELETE FROM bad_rows WHERE segment = ?", (segment,))
        self._database.execute("INSERT OR REPLACE INTO failures VALUES (?, ?)", (segment, reason))
        self._database.execute("COMMIT")

    def attempts(self, segment: int) -> int:
        """Return the number of failed attempts of a segment."""
        count: int = self._database.execute("SELECT count(*) FROM attempts WHERE segment = ?", (segment,)).fetchone()[0]
        return count

    def ledger(self) -> InlineLedger:
        """Return the ledger of the run, for its details."""
        return InlineLedger(self, self._database)

    def is_done(self, segment: int) -> bool:
        """Return whether a segment has a result."""
        return self._database.execute("SELECT 1 FROM ends WHERE segment = ?", (segment,)).fetchone() is not None

    def items(self) -> Mapping[int, int]:
        """Return the number of items by segment, for the done segments."""
        return dict(self._database.execute("SELECT segment, items FROM items ORDER BY segment"))

    def bad_rows(self) -> list[BadRows]:
        """Return the bad rows of the done segments, in segment order."""
        return [BadRows(*row) for row in self._database.execute("SELECT count, key FROM bad_rows ORDER BY segment")]

    def failures(self) -> dict[int, str]:
        """Return the reason by segment, for segments that failed and are not done; ascending."""
        return dict(self._database.execute("SELECT segment, reason FROM failures ORDER BY segment"))

    def results(self) -> Results:
        """Return the results, in segment order."""
        return Results(self._database)

    def over(self, store: Store) -> Store:
        """Return a store that saves objects of the results bucket in this database, and passes on all other calls."""
        return overlay(store, DATABASE_BUCKET, cast("Store", _Objects(self._database)))


class InlineLedger:
    """The part of a ledger that the details of a run are read from."""

    def __init__(self, database: InlineRunDatabase, rows: sqlite3.Connection) -> None:
        self._stored = database
        self._rows = rows

    async def counter(self, run_id: str) -> Counter:  # noqa: ARG002 - there is only one run
        """Return a counter with the number of segments of the run."""
        run = self._stored.run()
        total = 0 if run is None else count_segments(run.plan)
        return Counter(total, total, total)

    async def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:  # noqa: ARG002 - as above
        """Yield a marker for each segment that is done, and one for all that failed."""
        query = (
            "SELECT items.segment, items.items, times.began_at, times.seconds, (SELECT count(*) FROM attempts WHERE "
            "attempts.segment = items.segment) FROM items LEFT JOIN times ON times.segment = items.segment"
        )
        bad_rows = dict(self._bad_rows())
        for segment, items, began, seconds, attempts in self._rows.execute(query):
            yield Marker(
                id=f"{segment}",
                gen=0,
                ids=[segment],
                items=[items],
                receive_counts={segment: attempts + 1},
                messages={segment: (1, 0)},
                bad_rows={segment: bad_rows[segment]} if segment in bad_rows else {},
                began_at=() if began is None else [began],
                seconds=() if seconds is None else [seconds],
                environment=ENVIRONMENT,
            )
        if failures := self._stored.failures():
            counts = {segment: max(1, self._stored.attempts(segment)) for segment in failures}
            yield Marker(id="failed", gen=0, failed=failures, receive_counts=counts)

    def _bad_rows(self) -> Iterator[tuple[int, BadRows]]:
        for segment, count, key in self._rows.execute("SELECT segment, count, key FROM bad_rows"):
            yield segment, BadRows(count, key)

    async def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop]:  # noqa: ARG002 - as above
        """Yield nothing: an inline run continues no segment."""
        for _ in ():
            yield _

    async def attempts(self, run_id: str, gen: int) -> AsyncIterator[FailedBatch]:  # noqa: ARG002 - as above
        """Yield the failed attempts."""
        query = "SELECT segment, number, began_at, seconds, error, message, place FROM attempts"
        for segment, number, began, seconds, error, message, place in self._rows.execute(query):
            attempt = Attempt(segment, 0, 0, number, began, seconds, error, message, place, None, ENVIRONMENT, tag=1)
            yield FailedBatch(f"{segment}-{number}", 0, [attempt])


@contextmanager
def open_inline_database(file: Path | None) -> Iterator[InlineRunDatabase]:
    """Open the database of a run, exclusively for this process.

    Args:
        file: Path of the database; created if it does not exist. None for a temporary file.

    Raises:
        ConfigurationError: If the file cannot be opened, is not such a database, or is open in another process.
    """
    with closing(_opened(file)) as database:
        try:
            yield InlineRunDatabase(database)
        except sqlite3.Error as error:
            raise ConfigurationError(f"{file or 'the database of the run'} cannot be written: {error}") from error


def _opened(file: Path | None) -> sqlite3.Connection:
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"check_same_thread": False, "isolation_level": None, "timeout": 0}
        database = sqlite3.connect(file or "", factory=Rows, **options)
        with ExitStack() as stack:
            stack.callback(database.close)
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA synchronous = OFF")  # survives a crash of this process, but not of this machine
            database.executescript(f"BEGIN EXCLUSIVE; {_TABLES} COMMIT")
            make_tables(database)
            stack.pop_all()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ConfigurationError(f"{file} is in use: another process is running this run") from error
        raise ConfigurationError(f"{file} cannot be written: {error}") from error
    except (sqlite3.DatabaseError, OSError) as error:
        raise ConfigurationError(f"{file} cannot be used to store results: {error}") from error
    return database


class _Objects:
    """The objects that a run writes to its results bucket."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    async def head(self, bucket: str, key: str) -> ObjectInfo:  # noqa: ARG002 - there is only one
        row = self._database.execute("SELECT length(data), etag FROM objects WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise ObjectMissingError(f"the database of this run has no object {key}")
        return ObjectInfo(*row)

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        known = await self.head(bucket, key)
        if etag not in {None, known.etag}:
            raise ObjectChangedError(f"{key} is not the object that was pinned")
        end = known.size_bytes if stop is None else min(stop, known.size_bytes)
        for first in range(start, end, _CHUNK_BYTES):
            chunk = (first + 1, min(_CHUNK_BYTES, end - first), key)
            yield self._database.execute("SELECT substr(data, ?, ?) FROM objects WHERE key = ?", chunk).fetchone()[0]

    async def put(
        self,
        bucket: str,  # noqa: ARG002 - there is only one
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,  # noqa: ARG002 - a plan that was interrupted is written again
    ) -> None:
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (key, etag, data))
