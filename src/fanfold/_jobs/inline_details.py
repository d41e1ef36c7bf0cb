"""The details of an inline run, from the database in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from fanfold import inmemory, sources
from fanfold._jobs.inline_database import DATABASE_FILE, OUTPUT_FILE, InlineRunDatabase, open_inline_database
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._ports.backend import Backend
from fanfold._ports.run import FailedBatch, Marker, Run, RunState, check_name
from fanfold.errors import ConfigurationError, FanfoldError

ENVIRONMENT: Final = "this process"
"""Name of the execution environment of an inline run."""
_MARKER_SEGMENTS: Final = 1_000


async def read_inline_details(run_id: str, folder: Path) -> tuple[RunDetails, str | None]:
    """Return the details of an inline run, and why it failed although its segments did not, or None.

    Args:
        run_id: Name of the run.
        folder: Parent of its folder.

    Raises:
        ConfigurationError: If the folder has no such run, or another process is running it.
        FanfoldError: If the run is not planned yet.
    """
    file = folder / check_name(run_id, "run") / DATABASE_FILE
    if not file.is_file():
        raise ConfigurationError(
            f"{folder} has no inline run {run_id!r}: --folder is the --output of `fanfold run --inline`"
        )
    with open_inline_database(file) as database:
        stored, end = database.run(), database.end()
        if stored is None:
            raise FanfoldError(f"run {run_id} is not planned yet")
        state, ended_at, reason = end or (RunState.RUNNING, None, None)
        backend = inmemory.backend()
        run = _run(stored, state, ended_at, len(database.failures()), file.parent / OUTPUT_FILE)
        await _fill(run, database, backend)
    return await read_details(run, backend), reason


def _run(stored: Run, state: RunState, ended_at: float | None, failed: int, output: Path) -> Run:
    ended = state.is_final
    return replace(
        stored,
        state=state,
        ended_at=ended_at if ended else None,
        failed=failed,
        output=str(output) if state == RunState.SUCCEEDED else None,
    )


async def _fill(run: Run, database: InlineRunDatabase, backend: Backend) -> None:
    """Copy a run from its database into an empty ledger."""
    ledger = backend.ledger
    await ledger.open_run(run)
    await ledger.seal(run.id, sum(1 for _ in sources.cut(run.plan)))
    for number, marker in enumerate(_markers(database)):
        await ledger.put_marker(run.id, replace(marker, id=f"done-{number}"))
    if failures := database.failures():
        counts: dict[int, int] = {}
        for attempt in database.attempts():
            counts[attempt.segment] = attempt.number
        await ledger.put_marker(run.id, Marker("failed", 0, failed=failures, receive_counts=counts))
    attempts = [replace(attempt, log_stream=ENVIRONMENT) for attempt in database.attempts()]
    if attempts:
        await ledger.put_attempts(run.id, FailedBatch("attempts", 0, attempts))


def _markers(database: InlineRunDatabase) -> Iterator[Marker]:
    """Yield the done segments; those without times, from earlier versions, separately."""
    retried = {attempt.segment: attempt.number + 1 for attempt in database.attempts()}
    rows = database.timings()
    while chunk := list(islice(rows, _MARKER_SEGMENTS)):
        for is_timed in (True, False):
            if part := [row for row in chunk if (row[2] is not None) == is_timed]:
                yield Marker(
                    id="",
                    gen=0,
                    ids=[segment for segment, *_ in part],
                    items=[items for _, items, *_ in part],
                    began_at=[began for *_, began, _ in part if began is not None],
                    seconds=[seconds for *_, seconds in part if seconds is not None],
                    receive_counts={segment: retried[segment] for segment, *_ in part if segment in retried},
                    environment=ENVIRONMENT,
                )
