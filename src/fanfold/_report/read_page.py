"""Read what the page of a run shows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

import anyio

from fanfold._jobs.run_details import read_details
from fanfold._ports.backend import Backend
from fanfold._ports.queue import QueueCounts
from fanfold._ports.run import Run, RunState
from fanfold._report.cost import DEFAULT_MEMORY_MB
from fanfold._report.failures import time_text
from fanfold._report.page import RunPage
from fanfold.errors import FanfoldError, ObjectMissingError

WATCH_SECONDS: Final = 0.5
"""Least time between two reads of a run that is watched."""
READ_SHARE: Final = 9
"""Wait this many times as long as a read took."""


async def read_page(run_id: str, backend: Backend, *, memory_mb: int = DEFAULT_MEMORY_MB) -> RunPage:
    """Return what the page of a run shows.

    Args:
        run_id: The run.
        backend: Holds the ledger and the results.
        memory_mb: Memory of the segment function, for the estimated cost.

    Raises:
        FanfoldError: If the run is not in the ledger, or has expired.
    """
    run = await existing_run(run_id, backend)
    details = await read_details(run, backend)
    return RunPage(details, await fold_failure(run, backend), memory_mb, queue=await _queue_of(run, backend))


async def _queue_of(run: Run, backend: Backend) -> QueueCounts | None:
    """Return the numbers of messages while a run is in progress; None without the permission to read them."""
    if run.ended:
        return None
    try:
        return await backend.work_queue.counts()
    except FanfoldError:
        return None


async def watch_pages(run_id: str, backend: Backend, *, within_seconds: float) -> AsyncIterator[RunPage]:
    """Yield what the page of a run shows repeatedly, the last time when the run has ended.

    Reading a large run takes long: between two reads, wait at least nine times as long as a read took.

    Raises:
        FanfoldError: If the run is not in the ledger, has expired, or has not ended in time.
    """
    with anyio.move_on_after(within_seconds):
        while True:
            began = anyio.current_time()
            source = await read_page(run_id, backend)
            yield source
            if source.run.ended:
                return
            await backend.sleep(max(WATCH_SECONDS, READ_SHARE * (anyio.current_time() - began)))
    raise FanfoldError(
        f"run {run_id} has not ended within {within_seconds:.0f} s and continues: `fanfold status {run_id}` shows it"
    )


async def existing_run(run_id: str, backend: Backend) -> Run:
    """Return a run in its current state.

    Raises:
        FanfoldError: If the run is not in the ledger, or has expired: its segments may have been deleted.
    """
    run = await backend.ledger.run(run_id)
    if run is None:
        raise FanfoldError(
            f"run {run_id!r} is not in the ledger: check its name with `fanfold runs`. It keeps a run for 30 days"
        )
    if backend.now() >= run.expires_at:
        raise FanfoldError(
            f"run {run_id} expired on {time_text(run.expires_at)}: the ledger no longer keeps its segments"
        )
    return run


async def fold_failure(run: Run, backend: Backend) -> str | None:
    """Return why a run failed although its segments did not; None if that is not so."""
    if run.state != RunState.FAILED or run.output is None or run.output == run.failures_key():
        return None
    try:
        return str(json.loads(await backend.get_result(run.output))["fold"])
    except (ObjectMissingError, LookupError, TypeError, ValueError, RecursionError):
        return f"the reason in {run.output} cannot be read"
