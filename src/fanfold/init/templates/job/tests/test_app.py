"""A complete run of the job in this process. ``fanfold.testing`` needs no AWS."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import app
from offline import new_backend

from fanfold.inmemory import InMemorySettler
from fanfold.testing import make_context, make_event

SEGMENTS = Path(__file__).parents[1] / "events" / "segments.json"


async def run_all() -> dict[str, int]:
    """Deliver every segment, then the messages of the fold queue, and return the output."""
    backend = await new_backend()

    @asynccontextmanager
    async def same_backend():
        yield backend

    job = app.job.with_changes(backend=same_backend, settler=InMemorySettler(backend.work_queue))
    for queue, handler in ((backend.work_queue, job.segment_handler), (backend.fold_queue, job.fold_handler)):
        event = make_event(*[message.body for message in await queue.receive()])
        assert await handler.handle_batch(event, make_context()) == {"batchItemFailures": []}
    run = await backend.ledger.run("offline")
    assert run.state == "SUCCEEDED"
    return json.loads(await backend.get_result(run.output))


def test_every_row_is_counted_once():
    """Although some rows span two byte ranges."""
    assert asyncio.run(run_all()) == {"ada": 1349, "bob": 375, "eve": 4001}


def test_the_saved_segments_match_the_saved_input():
    """`make replay` delivers the messages that a run over events/orders.csv sends."""

    async def bodies() -> list[str]:
        backend = await new_backend()
        return [message.body for message in await backend.work_queue.receive()]

    assert json.loads(SEGMENTS.read_text(encoding="utf-8")) == [json.loads(body) for body in asyncio.run(bodies())]
