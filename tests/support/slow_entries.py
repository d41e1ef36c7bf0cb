"""Idempotent calls on entries that respond late."""

import asyncio
import gc
import json
from collections.abc import Sequence
from typing import Any

import idempotent
from fanfold import Record
from fanfold._base.deadline import Deadline
from fanfold._consumer.idempotent_calls import IdempotentCalls
from fanfold._consumer.stages import HandlerCall
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import ManualClock
from idempotent import bodies, opening

SLOW = 1.0
TIMEOUT = 0.3  # enough for a handler that does not wait, even on a busy machine


class Slow(InMemoryEntries):
    """Entries for which some requests take effect immediately but return late, or never for some keys."""

    def __init__(self, *slow: str, stuck: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.slow = slow
        self.stuck = stuck

    async def claim(self, entry, now):
        existing = await super().claim(entry, now)
        await asyncio.sleep(SLOW if "claim" in self.slow else 0)
        return existing

    async def release(self, key, owner):
        await asyncio.sleep(SLOW if "release" in self.slow else 0)
        await super().release(key, owner)

    async def complete(self, entries):
        if "complete" in self.slow or self.stuck & {entry.key for entry in entries}:
            await asyncio.Event().wait()
        return await super().complete(entries)


def once(entries: Any, **settings: Any) -> Idempotency:
    return Idempotency(lambda order: order["id"], open_entries=opening(entries), **{"prefix": "p", **settings})


def run(handler: Any, *ids: Any, seconds: float = 30.0) -> Any:
    try:
        return idempotent.run(handler, *bodies(*ids), seconds=seconds)
    finally:
        gc.collect()


def records_of(*ids: Any) -> list[Record]:
    return [Record(raw) for raw in bodies(*ids)]


def once_of(records: Sequence[Record], call: Any, entries: InMemoryEntries, clock: ManualClock) -> IdempotentCalls:
    """Return the idempotent calls of a batch that stops starting records after 6 s, and ends after 10 s."""

    async def opened() -> InMemoryEntries:
        return entries

    idempotency = once(entries)
    return IdempotentCalls(
        records,
        HandlerCall(call, takes_list=False).as_stage(),
        idempotency=idempotency,
        key_of=lambda record: idempotency.key_for(json.loads(record.body), call),
        resolve=None,
        entries=opened,
        deadline=Deadline.after(10, margin=4, clock=clock),
    )


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
