"""Properties of idempotency: acknowledged records are recorded as completed, and completed keys do not run again."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import ids
from fanfold._base.retry import ATTEMPTS, RetrySchedule
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry
from fanfold.errors import ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import make_event, make_record
from idempotent import no_delay, opening
from settlers import accepting

NOW = 1_800_000_000.0
OK, FAILS, NO_KEY, CANCELS = "ok", "fails", "no key", "cancels"


class Unreliable(InMemoryEntries):
    """A store whose calls fail as scripted, before or after they take effect."""

    def __init__(self, script: list[str]) -> None:
        super().__init__()
        self.script = script
        self.failed: Counter[str] = Counter()

    async def _step(self, name: str, method: Any, *args: Any) -> Any:
        await asyncio.sleep(0)
        step = self.script.pop(0) if self.script else OK
        if step == "before":
            self.failed[name] += 1
            raise ServiceError("refused", code="ValidationException", transient=False)
        result = await method(*args)
        await asyncio.sleep(0)
        if step == "after":
            self.failed[name] += 1
            raise ServiceError("lost", code="ValidationException", transient=False)
        return result

    async def read(self, keys):
        return await self._step("read", super().read, keys)

    async def claim(self, entry, now):
        return await self._step("claim", super().claim, entry, now)

    async def complete(self, entries):
        return await self._step("complete", super().complete, entries)

    async def release(self, key, owner):
        await self._step("release", super().release, key, owner)


class Handler:
    """Does what each order specifies, and counts concurrent calls."""

    def __init__(self) -> None:
        self.succeeded: Counter[int] = Counter()
        self.running: Counter[int] = Counter()
        self.peak = 0
        self.started: set[int] = set()

    async def handle(self, order: dict[str, Any]) -> int:
        key = order["key"]
        self.started.add(key)
        self.running[key] += 1
        self.peak = max(self.peak, self.running[key])
        try:
            await asyncio.sleep(0)
            if order["do"] == FAILS:
                raise ValueError("no")
            if order["do"] == CANCELS:
                raise asyncio.CancelledError
            self.succeeded[key] += 1
            return int(key)
        finally:
            self.running[key] -= 1

    async def handle_all(self, orders: list[dict[str, Any]]) -> list[Any]:
        return await asyncio.gather(*(self.handle(order) for order in orders), return_exceptions=True)


records = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([OK, OK, OK, FAILS, NO_KEY, CANCELS])), min_size=1, max_size=14
)
scripts = st.lists(st.sampled_from([OK, OK, OK, "before", "after"]), max_size=20)


@settings(max_examples=200)
@given(
    records,
    scripts,
    st.sets(st.integers(0, 4), max_size=2),
    st.sets(st.integers(0, 4), max_size=2),
    st.integers(1, 6),
    st.none() | st.integers(1, 4),
)
async def test_acknowledged_records_are_recorded_and_completed_keys_do_not_run_again(
    batch, script, done, claimed, concurrency, chunk_size
):
    """The batch has duplicates, failures, lost responses, lists, and keys that others have completed or claimed."""
    store, handler = Unreliable(script), Handler()

    idempotency = Idempotency(
        lambda order: None if order["do"] == NO_KEY else order["key"],
        prefix="test",
        open_entries=opening(store),
        clock=lambda: NOW,
    )
    names = {key: idempotency.key_for({"key": key, "do": OK}, handler.handle) for key in range(5)}
    for key in claimed - done:
        store.entries[names[key]] = Entry(names[key], IN_PROGRESS, int(NOW) + 60, NOW + 30, "another")
    for key in done:
        store.entries[names[key]] = Entry(names[key], COMPLETED, int(NOW) + 60, result=str(key))

    if chunk_size is None:

        @fanfold.consumer(concurrency=concurrency, idempotency=idempotency, dead_letter_queue_url="")
        async def consumer(order: dict[str, Any]) -> int:
            return await handler.handle(order)
    else:

        @fanfold.consumer(
            concurrency=concurrency, idempotency=idempotency, dead_letter_queue_url="", chunk_size=chunk_size
        )
        async def consumer(orders: list[dict[str, Any]]) -> list[Any]:
            return await handler.handle_all(orders)

    raw = [make_record({"key": key, "do": do}, message_id=f"m-{number}") for number, (key, do) in enumerate(batch)]
    result = await consumer.with_settings(settler=accepting).process(make_event(records=raw))
    reported = ids(result)
    for number, (key, do) in enumerate(batch):
        if f"m-{number}" in reported:
            continue
        assert do != NO_KEY
        assert store.entries[names[key]].status == COMPLETED
        assert key in done or handler.succeeded[key]
    assert not handler.started & done
    assert not handler.started & (claimed - done)
    assert handler.peak <= 1 or chunk_size is not None
    assert all(times == 1 for times in handler.succeeded.values())
    left = {entry.key for entry in store.entries.values() if entry.status == IN_PROGRESS and entry.owner != "another"}
    assert not left or store.failed & Counter({"claim": 99, "complete": 99, "release": 99})
    for key in claimed - done:
        assert store.entries[names[key]].owner == "another"


class LeavesOver(Unreliable):
    """A store that leaves some entries unprocessed, as scripted."""

    def __init__(self, script: list[str], left_over: list[set[int]]) -> None:
        super().__init__(script)
        self.left_over = left_over

    async def complete(self, entries):
        scripted = self.left_over.pop(0) if self.left_over else ()
        refused = {position for position in scripted if position < len(entries)}
        await super().complete([entry for position, entry in enumerate(entries) if position not in refused])
        return refused


LEASE, EXPIRY = 60, 100
rounds = st.lists(
    st.tuples(
        st.sampled_from([0, 10, LEASE + 1, EXPIRY + 1, -10, -100_000]),  # the clock jumps by this before the round
        st.lists(
            st.lists(st.tuples(st.integers(0, 3), st.sampled_from([OK, OK, FAILS])), min_size=1, max_size=6),
            min_size=1,
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=3,
)
left_over = st.lists(
    st.sets(st.integers(0, 3)), max_size=ATTEMPTS - 1
)  # at most one less than the attempts, so that every write succeeds finally


@settings(max_examples=150, deadline=None)
@given(rounds, scripts, left_over, st.integers(1, 4))
async def test_concurrent_batches_never_run_a_key_concurrently(all_rounds, script, left, concurrency):
    """This holds in several rounds in one execution environment, with any jumps of the clock and unprocessed writes."""
    store, handler, clock = LeavesOver(script, left), Handler(), [NOW]

    idempotency = Idempotency(
        lambda order: order["key"],
        prefix="test",
        lease_seconds=LEASE,
        expires_after_seconds=EXPIRY,
        open_entries=opening(store),
        clock=lambda: clock[0],
    )
    names = {key: idempotency.key_for({"key": key}, handler.handle) for key in range(4)}

    @fanfold.consumer(concurrency=concurrency, idempotency=idempotency, dead_letter_queue_url="", settler=accepting)
    async def consumer(order: dict[str, Any]) -> int:
        return await handler.handle(order)

    def is_done(key: int) -> bool:
        return names[key] in store.entries and store.entries[names[key]].is_done(clock[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RetrySchedule, "delay", no_delay)
        async with consumer.session() as process:
            for jump, batches in all_rounds:
                clock[0] += jump
                done = {key for key in names if is_done(key)}
                handler.started.clear()
                events = [make_event(*({"key": key, "do": do} for key, do in batch)) for batch in batches]
                results = await asyncio.gather(*map(process, events))
                assert not handler.started & done
                assert handler.peak <= 1
                for batch, result in zip(batches, results, strict=True):
                    for (key, _), outcome in zip(batch, result.outcomes, strict=True):
                        if isinstance(outcome, fanfold.Done):
                            assert is_done(key)
                            assert handler.succeeded[key]
                assert all(entry.status == COMPLETED for entry in store.entries.values()) or store.failed
