"""Idempotent consumers on in-memory entries that fail according to a script."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import fanfold
from fanfold._base.retry import RetrySchedule
from fanfold._ports.idempotency import IN_PROGRESS, Entry
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import make_context, make_event, make_record

NOW = 1_800_000_000.0


class Clock:
    """A manual wall clock."""

    now = NOW

    def __call__(self) -> float:
        return self.now


class Faulty(InMemoryEntries):
    """Entries whose operations fail according to a script, and are counted."""

    def __init__(self, **faults: list[Exception | None]) -> None:
        super().__init__()
        self.faults = faults
        self.calls: Counter[str] = Counter()

    def _step(self, name: str) -> None:
        self.calls[name] += 1
        script = self.faults.get(name)
        if script and (fault := script.pop(0)) is not None:
            raise fault

    async def read(self, keys):
        self._step("read")
        return await super().read(keys)

    async def claim(self, entry, now):
        self._step("claim")
        return await super().claim(entry, now)

    async def complete(self, entries):
        self._step("complete")
        return await super().complete(entries)

    async def release(self, key, owner):
        self._step("release")
        await super().release(key, owner)


def opening(entries: Any) -> Any:
    @asynccontextmanager
    async def open_entries():
        yield entries

    return open_entries


def no_delay(schedule: RetrySchedule, failures: int, _: float) -> float | None:
    """Return a delay of 0 until the last attempt; replaces ``RetrySchedule.delay`` in tests."""
    return 0.0 if failures < schedule.attempts else None


def by_id(entries: Any, **settings: Any) -> Idempotency:
    defaults = {"prefix": "orders", "clock": Clock()}
    return Idempotency(lambda order: order["id"], open_entries=opening(entries), **{**defaults, **settings})


def run(handler: Any, *records: Any, seconds: float = 30.0) -> Any:
    try:
        return handler.invoke(make_event(records=records), make_context(seconds)).outcomes
    finally:
        handler.close()


def bodies(*ids: Any, **more: Any) -> list[Any]:
    return [make_record({"id": order_id, **more}, message_id=f"m-{number}") for number, order_id in enumerate(ids)]


def counting(idempotency: Idempotency, **settings: Any) -> Any:
    """Return a consumer that counts how often it processed each order."""

    @fanfold.consumer(idempotency=idempotency, **settings)
    async def handler(order: dict) -> Any:
        handler.done[order["id"]] += 1
        await asyncio.sleep(0)
        if order.get("fails"):
            raise ValueError("no")
        return order["id"]

    handler.done = Counter()
    return handler


def held_elsewhere(entries: InMemoryEntries, idempotency: Idempotency, order_id: int, left: float | None = None) -> str:
    """Let another invocation hold an order, with ``left`` seconds of its lease remaining; return the key."""
    key = idempotency.key_for({"id": order_id}, handler_of_nothing)
    entries.entries[key] = Entry(key, IN_PROGRESS, int(NOW) + 60, left and NOW + left, "other")
    return key


def statuses(entries: InMemoryEntries) -> Counter[str]:
    return Counter(entry.status for entry in entries.entries.values())


async def handler_of_nothing(order: dict) -> None:
    """Do nothing."""
