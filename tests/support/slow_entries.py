"""Idempotent calls on entries that answer late."""

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

SLOW = 0.2
TIMEOUT = 0.02


class Slow(InMemoryEntries):
    """Entries of which some requests take effect at once, and are answered late; or never, for some keys."""

    def __init__(self, *slow: str, stuck: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.slow = slow
        self.stuck = stuck

    async def claim(self, entry, now):
        known = await super().claim(entry, now)
        await asyncio.sleep(SLOW if "claim" in self.slow else 0)
        return known

    async def release(self, key, owner):
        await asyncio.sleep(SLOW if "release" in self.slow else 0)
        await super().release(key, owner)

    async def complete(self, entries):
        if "complete" in self.slow or self.stuck & {entry.key for entry in entries}:
            await asyncio.Event().wait()
        return await super().complete(entries)


def once(entries: Any, **terms: Any) -> Idempotency:
    return Idempotency(lambda order: order["id"], open_entries=opening(entries), **{"prefix": "p", **terms})


def run(handler: Any, *ids: Any, seconds: float = 30.0) -> Any:
    try:
        return idempotent.run(handler, *bodies(*ids), seconds=seconds)
    finally:
        gc.collect()


def records_of(*ids: Any) -> list[Record]:
    return [Record(raw) for raw in bodies(*ids)]


def once_of(records: Sequence[Record], call: Any, entries: InMemoryEntries, clock: ManualClock) -> IdempotentCalls:
    """Return what does some records once, in a batch that stops 6 seconds from now, and ends 10 seconds from now."""

    async def opened() -> InMemoryEntries:
        return entries

    terms = once(entries)
    return IdempotentCalls(
        records,
        HandlerCall(call, takes_list=False).as_stage(),
        idempotency=terms,
        key_of=lambda record: terms.key_for(json.loads(record.body), call),
        resolve=None,
        entries=opened,
        deadline=Deadline.after(10, margin=4, clock=clock),
    )


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
