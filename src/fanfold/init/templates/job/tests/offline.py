"""The job with queues, ledger and store in memory, and a run over ``events/orders.csv``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import app

from fanfold import inmemory
from fanfold.protocols import Backend

INPUT = Path(__file__).parents[1] / "events" / "orders.csv"
PARAMS = {"bucket": "results", "key": "input/orders.csv", "chunk_bytes": 20}


async def new_backend() -> Backend:
    """Return an in-memory backend with the enqueued segments of the run ``offline``."""
    backend = inmemory.backend()
    await backend.store.put("results", "input/orders.csv", INPUT.read_bytes())
    await app.job.start(backend, PARAMS, "offline")
    return backend


@asynccontextmanager
async def open_backend() -> AsyncIterator[Backend]:
    """Open the backend, as each execution environment does once."""
    yield await new_backend()


segment_handler = app.job.with_changes(backend=open_backend).segment_handler
