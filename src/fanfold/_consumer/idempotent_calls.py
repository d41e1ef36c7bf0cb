"""The idempotency of one batch: what is done is found out, what runs is claimed, what succeeded is written down.

Records are looked up a hundred at a time before they start; a look may miss what was written just now, so each of the
others is claimed under a condition, which decides. What succeeded is written in batches while other handlers run, and
no worker waits for it: the batch's commit does, so that nothing is acknowledged whose entry is not known to be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from fanfold._base.aws_limits import DYNAMODB_BATCH_ITEMS, DYNAMODB_READ_KEYS, LAMBDA_MAX_TIMEOUT_SECONDS
from fanfold._base.concurrency import for_each
from fanfold._base.deadline import Deadline
from fanfold._base.outcome import Done, NotStarted, Retry
from fanfold._base.record import Record
from fanfold._base.retry import retry
from fanfold._base.threads import StillRunningError
from fanfold._consumer.classify import outcome_of, rejects
from fanfold._consumer.stages import EndedEarly, Stage, cut, run_stage
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry, EntryStore, result_text
from fanfold.errors import LedgerError, ServiceError
from fanfold.idempotency import Idempotency

logger = logging.getLogger("fanfold")

_WRITES_AT_ONCE: Final = 4
_CLAIMS_AT_ONCE: Final = 16
_LOOKED_SHARE: Final = 0.25
"""Of the time to start in: a look that hangs must not cost its records their start, which do without."""
_WAITED_SHARE: Final = 0.9
"""Of the time a commit has: one write that hangs must not cost all the others their acknowledgement."""

_never = rejects(None)
_LATE: Final = NotStarted("the invocation's time was over")


class IdempotentCalls:
    """Keeps the handlers of one batch from doing again what was done."""

    def __init__(
        self,
        records: Sequence[Record],
        stage: Stage,
        *,
        idempotency: Idempotency,
        key_of: Callable[[Record], str],
        resolve: Callable[[Record], Awaitable[Record]] | None,
        entries: Callable[[], Awaitable[EntryStore]],
        deadline: Deadline,
    ) -> None:
        self._stage = stage
        self._terms = idempotency
        self._key_of = key_of
        self._resolve = resolve
        self._entries = entries
        self._deadline = deadline
        self._groups = [
            records[start : start + DYNAMODB_READ_KEYS] for start in range(0, len(records), DYNAMODB_READ_KEYS)
        ]
        self._group_of = {id(record): number for number, group in enumerate(self._groups) for record in group}
        self._reads: dict[int, asyncio.Task[None]] = {}
        self._keys: dict[int, str] = {}
        """By the identity of a record, which the batch keeps alive."""
        self._working: dict[str, asyncio.Future[None]] = {}
        """What ends when the last record of a key has ended that is here: the next waits for it, and only the next."""
        self._done: dict[str, Any] = {}
        """What the handlers of keys that are done returned."""
        self._written = _Writer(entries, Deadline(deadline.ends_at, deadline.margin / 4, deadline.clock))

    async def __call__(self, records: Sequence[Record]) -> list[Any]:
        """Return a value for each record: what its handler returned, now or once before, or an error."""
        identified = [await self._identify(record) for record in records]

        async def work(keyed: Sequence[tuple[str, Record]]) -> list[Any]:
            return await self._work_in_turn(keyed, records)

        return await run_stage(cut(records, identified), work)

    async def commit(self, done: Sequence[tuple[Record, Any]], moment: float) -> Collection[int]:
        """Wait until it is written that these are done, or a moment is near; return the positions of those it is of."""
        keys = [self._keys.get(id(record), "") for record, _ in done]
        left = self._deadline.until(moment)
        written = await self._written.wait(keys, left and left * _WAITED_SHARE)
        return [position for position, key in enumerate(keys) if key in written]

    async def _work_in_turn(self, keyed: Sequence[tuple[str, Record]], records: Sequence[Record]) -> list[Any]:
        """Return a value for each record with a key, worked on when those of the same key before it have ended."""
        firsts: dict[str, Record] = {}
        for key, record in keyed:
            firsts.setdefault(key, record)
        before = {self._working[key] for key in firsts if key in self._working}
        ended = asyncio.get_running_loop().create_future()
        self._working.update(dict.fromkeys(firsts, ended))
        try:
            if before:
                await asyncio.wait(before)
            mine = {key: record for key, record in firsts.items() if key not in self._done}
            worked = await self._work(mine, records)
        finally:
            self._end(firsts, ended, before)
        return [worked[key] if key in worked else self._done[key] for key, _ in keyed]

    def _end(self, keys: Iterable[str], ended: asyncio.Future[None], before: Iterable[asyncio.Future[None]]) -> None:
        """Let those go on who wait for some keys: when what was before them has ended, too, if nobody waited for it."""

        def end(_: object = None) -> None:
            for key in keys:
                if self._working[key] is ended:
                    del self._working[key]
            ended.set_result(None)

        if open_ones := [future for future in before if not future.done()]:
            asyncio.gather(*open_ones).add_done_callback(end)
        else:
            end()

    async def _identify(self, record: Record) -> tuple[str, Record] | EndedEarly:
        """Return a record's key, and the record with its payload in it."""
        try:
            whole = record if self._resolve is None else await self._resolve(record)
            return self._keep_key(record, whole), whole
        except Exception as error:  # noqa: BLE001 - of this record alone
            return EndedEarly(error)

    async def _work(self, mine: Mapping[str, Record], records: Sequence[Record]) -> dict[str, Any]:
        """Return what the handlers of some keys returned, or why they did not run, but for what was done before."""
        if not mine:
            return {}
        await self._look_up(records)
        owners = {key: uuid.uuid4().hex for key in mine if key not in self._done}
        if not owners:  # to claim none would cost each record of a batch that was done before as much as ten
            return {}
        if self._is_late():  # after another record of the key, or a slow look
            return dict.fromkeys(owners, _LATE)
        held = await self._claim(owners)
        keys = [key for key in owners if key not in self._done]  # to claim one may have shown that it is done
        late = self._is_late()
        stopped = [EndedEarly(held[key]) if key in held else EndedEarly(_LATE) if late else key for key in keys]
        items = cut(records, stopped)
        in_vain = {key for key, item in zip(keys, items, strict=True) if isinstance(item, EndedEarly)} - held.keys()
        await self._drop({key: owners[key] for key in in_vain})

        async def run(free: Sequence[str]) -> list[Any]:
            return await self._run({key: owners[key] for key in free}, mine)

        return dict(zip(keys, await run_stage(items, run), strict=True))

    def _is_late(self) -> bool:
        return self._deadline.clock() >= self._deadline.stops_at

    async def _look_up(self, records: Iterable[Record]) -> None:
        """Find out which of the records that came together with these are done."""
        for group in {self._group_of[id(record)] for record in records}:
            if group not in self._reads:
                self._reads[group] = asyncio.ensure_future(self._read(self._groups[group]))
            if not self._reads[group].done():
                await asyncio.wait({self._reads[group]})

    async def _read(self, records: Sequence[Record]) -> None:
        keys = sorted({key for record in records if (key := self._known_key(record)) is not None})
        if len(keys) <= 1:
            return  # a claim finds out as much
        left = self._deadline.until(self._deadline.stops_at)
        try:
            store = await self._entries()
            entries = await asyncio.wait_for(store.read(keys), left and left * _LOOKED_SHARE)
        except Exception:
            logger.warning("%d keys could not be looked up; each is claimed without", len(keys), exc_info=True)
            return
        now = self._terms.clock()
        for entry in entries:
            if entry.is_done(now):
                self._was_done(entry)

    def _known_key(self, record: Record) -> str | None:
        """Return a record's key; None if it has none, or its payload has to be fetched first."""
        try:
            return self._keep_key(record, record) if self._resolve is None else None
        except BaseException:  # noqa: BLE001 - is raised again when the record starts; here it would end the loop
            return None

    def _keep_key(self, record: Record, whole: Record) -> str:
        if id(record) not in self._keys:
            self._keys[id(record)] = self._key_of(whole)
        return self._keys[id(record)]

    def _was_done(self, entry: Entry) -> None:
        if entry.key not in self._done:
            self._done[entry.key] = entry.value()
            self._written.found(entry.key)

    async def _claim(self, owners: Mapping[str, str]) -> dict[str, Any]:
        """Claim keys; return why, for those that may not be worked on now."""
        held: dict[str, Any] = {}

        async def claim(key: str) -> None:
            try:
                await self._claim_one(key, owners[key])
            except Exception as error:  # noqa: BLE001 - of this key alone
                held[key] = error

        try:
            await _each(claim, owners)
        except asyncio.CancelledError:
            await self._drop(owners)  # which of them were made is not known
            raise
        unknown = [key for key, error in held.items() if isinstance(error, ServiceError) and error.transient]
        await self._drop({key: owners[key] for key in unknown})
        return held

    async def _claim_one(self, key: str, owner: str) -> None:
        store, now = await self._entries(), self._terms.clock()
        lease = self._terms.lease_seconds
        if lease is None:
            lease = LAMBDA_MAX_TIMEOUT_SECONDS if math.isinf(self._deadline.ends_at) else self._deadline.remaining()
        # What expires counts no more: not before the lease is over.
        expires_at = max(self._expires_at(now), math.ceil(now + lease))
        entry = Entry(key, IN_PROGRESS, expires_at, now + lease, owner)
        known = await retry(lambda: store.claim(entry, now), deadline=self._deadline)
        if known is None:
            if self._terms.clock() > now + lease:
                raise LedgerError(f"idempotency key {key}: to claim it took longer than its lease")
            return
        if known.is_done(now):
            self._was_done(known)
            return
        if known.status != IN_PROGRESS:
            raise LedgerError(f"idempotency key {key}: its status {known.status!r} is none that is known")
        left = None if known.lease_ends_at is None else max(1.0, known.lease_ends_at - now)
        raise Retry(f"another invocation holds the idempotency key {key}", after=left)

    async def _run(self, free: Mapping[str, str], mine: Mapping[str, Record]) -> list[Any]:
        """Run the handlers of claimed keys; write down those that succeeded, and drop the claims of the others."""
        try:
            returned = await self._stage([mine[key] for key in free])
        except (GeneratorExit, StillRunningError):
            raise  # the loop is closed under an abandoned worker; or its thread still runs, and its claims hold
        except BaseException as error:  # noqa: BLE001 - raised again, by the engine's own rules
            returned = [error] * len(free)
        # What was cancelled failed, even if its handler then returned.
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        failed: dict[str, str] = {}
        for key, value in dict(zip(free, returned, strict=True)).items():
            outcome = outcome_of(value, _never)
            if isinstance(outcome, Done) and not cancelled:
                self._done[key] = value
                self._written.add(
                    Entry(key, COMPLETED, self._expires_at(self._terms.clock()), result=result_text(outcome.value))
                )
            else:
                failed[key] = free[key]
        await self._drop(failed)
        return returned

    async def _drop(self, claims: Mapping[str, str]) -> None:
        """Drop claims, also if the worker is cancelled meanwhile: it has no more to do, and the engine sees it."""
        if not claims:
            return
        dropping = asyncio.ensure_future(_each(lambda key: self._release(key, claims[key]), claims))
        while not dropping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({dropping})

    async def _release(self, key: str, owner: str) -> None:
        try:
            await (await self._entries()).release(key, owner)
        except Exception:
            logger.warning("the claim of %s could not be dropped; it holds until its lease is over", key, exc_info=True)

    def _expires_at(self, now: float) -> int:
        return math.ceil(now + self._terms.expires_after_seconds)


async def _each(function: Callable[[str], Awaitable[None]], keys: Collection[str]) -> None:
    if len(keys) == 1:
        await function(*keys)  # as nearly always: without workers
    else:
        await for_each(function, keys, concurrency=_CLAIMS_AT_ONCE)


class _Writer:
    """Writes down what is done, many at a time when they come fast, while other handlers run."""

    def __init__(self, entries: Callable[[], Awaitable[EntryStore]], deadline: Deadline) -> None:
        """Write to a store; what fails is tried again until the deadline stops it, which is when the answer is due."""
        self._entries = entries
        self._deadline = deadline
        self._waiting: list[Entry] = []
        self._writes: set[asyncio.Task[None]] = set()
        self._written: dict[str, asyncio.Future[bool]] = {}
        self._least = DYNAMODB_BATCH_ITEMS
        """How many have to wait before they are written beside others."""

    def found(self, key: str) -> None:
        """Take note that a key's entry is there."""
        self._written[key] = asyncio.get_running_loop().create_future()
        self._written[key].set_result(True)

    def add(self, entry: Entry) -> None:
        """Have an entry written."""
        self._written[entry.key] = asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        self._begin()

    async def wait(self, keys: Iterable[str], within_seconds: float | None) -> set[str]:
        """Return those of some keys whose entries are written, when it is known of all there are or the time is over.

        Of all: what is done behind a failure in a FIFO group is written, too, and nobody asks for it.
        """
        self._least = 1  # little more comes: nothing is left to wait for a write that may hang
        self._begin()
        if open_ones := [future for future in self._written.values() if not future.done()]:
            await asyncio.wait(open_ones, timeout=within_seconds)
        asked = {key: self._written[key] for key in keys if key in self._written}
        return {key for key, future in asked.items() if future.done() and future.result()}

    def _begin(self) -> None:
        """Write at once if nothing is being written; else when enough are there, or what is written is."""
        while self._waiting and (
            not self._writes or (len(self._waiting) >= self._least and len(self._writes) < _WRITES_AT_ONCE)
        ):
            entries, self._waiting = self._waiting[:DYNAMODB_BATCH_ITEMS], self._waiting[DYNAMODB_BATCH_ITEMS:]
            write = asyncio.ensure_future(self._write(entries))
            self._writes.add(write)
            write.add_done_callback(self._ended)

    def _ended(self, write: asyncio.Task[None]) -> None:
        self._writes.discard(write)
        if write.cancelled():  # the loop is about to be closed: what waits will not be written
            entries, self._waiting = self._waiting, []
            for entry in entries:
                self._written[entry.key].set_result(False)
        self._begin()

    async def _write(self, entries: Sequence[Entry]) -> None:
        left = list(entries)

        async def offer() -> None:
            store = await self._entries()
            refused = set(await store.complete(left))
            for position, entry in enumerate(left):
                if position not in refused:
                    self._written[entry.key].set_result(True)
            left[:] = [left[position] for position in sorted(refused)]
            if left:
                raise ServiceError("the table left them over", code="UnprocessedItems", transient=True)

        try:
            await retry(offer, deadline=self._deadline)
        except Exception:
            logger.warning("%d records are done, but it could not be written down", len(left), exc_info=True)
        finally:
            for entry in left:
                self._written[entry.key].set_result(False)
