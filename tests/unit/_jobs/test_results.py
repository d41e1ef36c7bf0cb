"""The database of a run's results."""

import asyncio
import sqlite3
import threading

import pytest

from fanfold._base.threads import StillRunningError
from fanfold._jobs.output import apply
from fanfold._jobs.results import Results, make_tables, opened, put_results


def closed(rows: sqlite3.Connection) -> bool:
    try:
        rows.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return True
    return False


def test_the_database_is_always_closed_at_the_end():
    """Also after an error or a cancellation."""
    with opened() as rows:
        pass
    assert closed(rows)
    for error in (ValueError, asyncio.CancelledError):
        with pytest.raises(error), opened() as rows:
            raise error
        assert closed(rows)


async def test_an_abandoned_thread_can_still_read_the_database():
    """Closing the database during its query would crash the process."""
    begun, go, read = threading.Event(), threading.Event(), []

    def fold(results):
        for result in results:
            read.append(result)
            begun.set()
            go.wait()
        ended.set()

    ended = threading.Event()
    connections: list[sqlite3.Connection] = []

    async def work() -> None:
        with opened() as rows:
            connections.append(rows)
            make_tables(rows)
            put_results(rows, enumerate(map(str, range(1_000))))
            await apply(fold, Results(rows))

    task = asyncio.ensure_future(work())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(StillRunningError):
        await task
    go.set()
    await asyncio.to_thread(ended.wait)
    assert read == list(range(1_000))
    connections[0].close()
