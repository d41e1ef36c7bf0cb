"""The idempotency of one batch: look up keys, claim them before their handlers run, and write the results.

Keys are looked up 100 at a time before their records start. A lookup can miss a recent write, so each remaining key is
claimed with a conditional write, which decides. Results are written in batches while other handlers run. Workers do not
wait for these writes; the commit of the batch does, so a message is acknowledged only after its entry is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from fanfold._base.aws_limits import DYNAMODB_BATCH_ITEMS, DYNAMODB_READ_KEYS, LAMBDA_MAX_TIMEOUT_SECONDS
from fanfold._base.concurrency import for_each
from fanfold._base.deadline import Deadline
from fanfold._base.log import BatchLogger
from fanfold._base.outcome import Done, NotStarted, Retry
from fanfold._base.positions import checked_positions
from fanfold._base.record import Record
from fanfold._base.retry import retry
from fanfold._base.threads import StillRunningError
from fanfold._consumer.classify import outcome_of, rejects
from fanfold._consumer.stages import EarlyResult, Stage, run_stage, stop_group_at_failure
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry, EntryStore, result_text
from fanfold.errors import LedgerError, ServiceError
from fanfold.idempotency import Idempotency

_CONCURRENT_WRITES: Final = 4
_CONCURRENT_CLAIMS: Final = 16
_LOOKUP_SHARE: Final = 0.25
"""Share of the time until ``stops_at`` that a lookup may take, so that its records can start even if it hangs."""
_WAIT_SHARE: Final = 0.9
"""Share of a commit's time for waiting, so that one write that hangs does not prevent all other acknowledgements."""

_reject_nothing = rejects(None)
_LATE: Final = NotStarted("the invocation was about to time out")


class IdempotentCalls:
    """Calls each handler of a batch only if its idempotency key is not done yet; a stage."""

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
        keep_values: bool = True,
    ) -> None:
        self._stage = stage
        self._keep_values = keep_values
        self._idempotency = idempotency
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
        """Key of each record, by the record's identity; the batch keeps the records alive."""
        self._in_progress: dict[str, asyncio.Future[None]] = {}
        """For each key in progress in this batch, a future that ends with its most recent record: the next one waits
        for it."""
        self._done: dict[str, Any] = {}
        """Return value of the handler for each key that is done; None if nobody will read it."""
        self._logger = BatchLogger()
        self._writer = _Writer(entries, Deadline(deadline.ends_at, deadline.margin / 4, deadline.clock), self._logger)

    async def __call__(self, records: Sequence[Record]) -> list[Any]:
        """Return a value for each record: the return value of its handler, from now or earlier, or an error."""
        identified = [await self._identify(record) for record in records]

        async def process(keyed: Sequence[tuple[str, Record]]) -> list[Any]:
            return await self._process_after_duplicates(keyed, records)

        return await run_stage(stop_group_at_failure(records, identified), process)

    async def commit(self, done: Sequence[tuple[Record, Any]], moment: float) -> Collection[int]:
        """Wait until the records' entries are written or a moment is near; return the positions of those written."""
        keys = [self._keys.get(id(record), "") for record, _ in done]
        seconds = self._deadline.until(moment)
        written = await self._writer.wait(keys, seconds and seconds * _WAIT_SHARE)
        return [position for position, key in enumerate(keys) if key in written]

    async def _process_after_duplicates(
        self, keyed: Sequence[tuple[str, Record]], records: Sequence[Record]
    ) -> list[Any]:
        """Wait until earlier records with the same keys have ended; then return a value for each record."""
        firsts: dict[str, Record] = {}
        for key, record in keyed:
            firsts.setdefault(key, record)
        earlier = {self._in_progress[key] for key in firsts if key in self._in_progress}
        ended = asyncio.get_running_loop().create_future()
        self._in_progress.update(dict.fromkeys(firsts, ended))
        try:
            if earlier:
                await asyncio.wait(earlier)
            not_done = {key: record for key, record in firsts.items() if key not in self._done}
            values = await self._process(not_done, records)
        finally:
            self._end(firsts, ended, earlier)
        return [values[key] if key in values else self._done[key] for key, _ in keyed]

    def _end(self, keys: Iterable[str], ended: asyncio.Future[None], earlier: Iterable[asyncio.Future[None]]) -> None:
        """Release the records that wait for some keys, but not before the earlier records of these keys have ended."""

        def end(_: object = None) -> None:
            for key in keys:
                if self._in_progress[key] is ended:
                    del self._in_progress[key]
            ended.set_result(None)

        if unfinished := [future for future in earlier if not future.done()]:
            asyncio.gather(*unfinished).add_done_callback(end)
        else:
            end()

    async def _identify(self, record: Record) -> tuple[str, Record] | EarlyResult:
        """Return a record's key, and the record with its payload."""
        try:
            resolved = record if self._resolve is None else await self._resolve(record)
            return self._store_key(record, resolved), resolved
        except Exception as error:  # noqa: BLE001 - fails only this record
            return EarlyResult(error)

    async def _process(self, not_done: Mapping[str, Record], records: Sequence[Record]) -> dict[str, Any]:
        """Claim keys and call their handlers; return a value for each key, except for those found to be done."""
        if not not_done:
            return {}
        await self._look_up(records)
        owners = {key: uuid.uuid4().hex for key in not_done if key not in self._done}
        if not owners:  # the fast path for a batch that was processed before
            return {}
        if self._is_late():  # after waiting for a duplicate, or after a slow lookup
            return dict.fromkeys(owners, _LATE)
        errors = await self._claim(owners)
        keys = [key for key in owners if key not in self._done]  # a claim may find that a key is done
        late = self._is_late()
        claimed = [EarlyResult(errors[key]) if key in errors else EarlyResult(_LATE) if late else key for key in keys]
        inputs = stop_group_at_failure(records, claimed)
        unused = {key for key, item in zip(keys, inputs, strict=True) if isinstance(item, EarlyResult)} - errors.keys()
        await self._release({key: owners[key] for key in unused})

        async def run(claimed_keys: Sequence[str]) -> list[Any]:
            return await self._run({key: owners[key] for key in claimed_keys}, not_done)

        return dict(zip(keys, await run_stage(inputs, run), strict=True))

    def _is_late(self) -> bool:
        return self._deadline.clock() >= self._deadline.stops_at

    async def _look_up(self, records: Iterable[Record]) -> None:
        """Look up the keys of the groups that these records belong to; each group only once."""
        for group in {self._group_of[id(record)] for record in records}:
            if group not in self._reads:
                self._reads[group] = asyncio.ensure_future(self._read(self._groups[group]))
            if not self._reads[group].done():
                await asyncio.wait({self._reads[group]})

    async def _read(self, records: Sequence[Record]) -> None:
        keys = sorted({key for record in records if (key := self._key_without_payload(record)) is not None})
        if len(keys) <= 1:
            return  # a claim gives the same information
        seconds = self._deadline.until(self._deadline.stops_at)
        try:
            store = await self._entries()
            entries = await asyncio.wait_for(store.read(keys), seconds and seconds * _LOOKUP_SHARE)
        except Exception:
            self._logger.warning("%d idempotency keys could not be looked up; claiming each", len(keys), exc_info=True)
            return
        now = self._idempotency.clock()
        for entry in entries:
            if entry.is_done(now):
                self._store_result(entry)

    def _key_without_payload(self, record: Record) -> str | None:
        """Return a record's key; None if it has none, or if its payload must be fetched first."""
        try:
            return self._store_key(record, record) if self._resolve is None else None
        except BaseException:  # noqa: BLE001 - raised again when the record starts; here it would stop the event loop
            return None

    def _store_key(self, record: Record, resolved: Record) -> str:
        if id(record) not in self._keys:
            self._keys[id(record)] = self._key_of(resolved)
        return self._keys[id(record)]

    def _store_result(self, entry: Entry) -> None:
        if entry.key not in self._done:
            self._done[entry.key] = entry.value() if self._keep_values else None
            self._writer.add_written(entry.key)

    async def _claim(self, owners: Mapping[str, str]) -> dict[str, Any]:
        """Claim keys; return an error for each key whose handler must not run now."""
        errors: dict[str, Any] = {}

        async def claim(key: str) -> None:
            try:
                await self._claim_one(key, owners[key])
            except Exception as error:  # noqa: BLE001 - fails only this key
                errors[key] = error

        try:
            await _call_for_keys(claim, owners)
        except asyncio.CancelledError:
            await self._release(owners)  # any of the claims may have succeeded
            raise
        unknown = [key for key, error in errors.items() if isinstance(error, ServiceError) and error.transient]
        await self._release({key: owners[key] for key in unknown})
        return errors

    async def _claim_one(self, key: str, owner: str) -> None:
        store, now = await self._entries(), self._idempotency.clock()
        lease = self._idempotency.lease_seconds
        if lease is None:
            lease = LAMBDA_MAX_TIMEOUT_SECONDS if math.isinf(self._deadline.ends_at) else self._deadline.remaining()
        # An expired entry is ignored, so it must not expire before its lease ends.
        expires_at = max(self._expires_at(now), math.ceil(now + lease))
        entry = Entry(key, IN_PROGRESS, expires_at, now + lease, owner)
        existing = await retry(lambda: store.claim(entry, now), deadline=self._deadline)
        if existing is None:
            if self._idempotency.clock() > now + lease:
                raise LedgerError(f"idempotency key {key}: claiming it took longer than its lease of {lease:.0f} s")
            return
        if existing.is_done(now):
            self._store_result(existing)
            return
        if existing.status != IN_PROGRESS:
            raise LedgerError(
                f"idempotency key {key}: its entry has the unknown status {existing.status!r}; "
                "check what else writes to the table"
            )
        lease_left = None if existing.lease_ends_at is None else max(1.0, existing.lease_ends_at - now)
        raise Retry(f"another invocation holds the idempotency key {key}", after=lease_left)

    async def _run(self, claims: Mapping[str, str], records: Mapping[str, Record]) -> list[Any]:
        """Call the handlers of claimed keys; write the results of those that succeeded, release the other claims."""
        try:
            returned = await self._stage([records[key] for key in claims])
        except (GeneratorExit, StillRunningError):
            raise  # the loop is closed under an abandoned worker; or its thread still runs and keeps its claims
        except BaseException as error:  # noqa: BLE001 - returned as a value, which the batch classifies
            returned = [error] * len(claims)
        # A cancelled record failed, even if its handler then returned.
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        failed: dict[str, str] = {}
        for key, value in dict(zip(claims, returned, strict=True)).items():
            outcome = outcome_of(value, _reject_nothing)
            if isinstance(outcome, Done) and not cancelled:
                self._done[key] = value if self._keep_values else None
                expires_at = self._expires_at(self._idempotency.clock())
                self._writer.add(Entry(key, COMPLETED, expires_at, result=result_text(outcome.value)))
            else:
                failed[key] = claims[key]
        await self._release(failed)
        return returned

    async def _release(self, claims: Mapping[str, str]) -> None:
        """Release claims, even if the worker is cancelled in the meantime; the batch then handles the cancellation."""
        if not claims:
            return
        releasing = asyncio.ensure_future(_call_for_keys(lambda key: self._release_one(key, claims[key]), claims))
        while not releasing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({releasing})

    async def _release_one(self, key: str, owner: str) -> None:
        try:
            await (await self._entries()).release(key, owner)
        except Exception:
            self._logger.warning(
                "idempotency key %s could not be released; it remains claimed until its lease ends", key, exc_info=True
            )

    def _expires_at(self, now: float) -> int:
        return math.ceil(now + self._idempotency.expires_after_seconds)


async def _call_for_keys(function: Callable[[str], Awaitable[None]], keys: Collection[str]) -> None:
    if len(keys) == 1:
        await function(*keys)  # the usual case, without workers
    else:
        await for_each(function, keys, concurrency=_CONCURRENT_CLAIMS)


class _Writer:
    """Writes entries of keys that are done, in batches if there are many, while other handlers run."""

    def __init__(
        self, entries: Callable[[], Awaitable[EntryStore]], deadline: Deadline, logger: BatchLogger | None = None
    ) -> None:
        """Create a writer that retries failed writes until ``deadline.stops_at``, when the response is due."""
        self._entries = entries
        self._logger = logger or BatchLogger()
        self._deadline = deadline
        self._waiting: list[Entry] = []
        self._writes: set[asyncio.Task[None]] = set()
        self._written: dict[str, asyncio.Future[bool]] = {}
        self._min_concurrent_batch = DYNAMODB_BATCH_ITEMS
        """Minimum number of entries for a write that runs concurrently with others."""

    def add_written(self, key: str) -> None:
        """Add a key whose entry exists."""
        self._written[key] = asyncio.get_running_loop().create_future()
        self._written[key].set_result(True)

    def add(self, entry: Entry) -> None:
        """Add an entry to write."""
        self._written[entry.key] = asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        self._start_writes()

    async def wait(self, keys: Iterable[str], within_seconds: float | None) -> set[str]:
        """Wait until all writes have ended, no longer than this, and return which of some keys have written entries.

        All writes: entries of records behind a failure in a FIFO group are also written, although no caller asks for
        them.
        """
        self._min_concurrent_batch = 1  # few entries follow, so none waits for a write that may hang
        self._start_writes()
        if unfinished := [future for future in self._written.values() if not future.done()]:
            await asyncio.wait(unfinished, timeout=within_seconds)
        added = {key: self._written[key] for key in keys if key in self._written}
        return {key for key, future in added.items() if future.done() and future.result()}

    def _start_writes(self) -> None:
        """Write immediately if no write runs; otherwise once enough entries wait, or when a write has ended."""
        while self._waiting and (
            not self._writes
            or (len(self._waiting) >= self._min_concurrent_batch and len(self._writes) < _CONCURRENT_WRITES)
        ):
            entries, self._waiting = self._waiting[:DYNAMODB_BATCH_ITEMS], self._waiting[DYNAMODB_BATCH_ITEMS:]
            write = asyncio.ensure_future(self._write(entries))
            self._writes.add(write)
            write.add_done_callback(self._write_ended)

    def _write_ended(self, write: asyncio.Task[None]) -> None:
        self._writes.discard(write)
        if write.cancelled():  # the loop is about to be closed: waiting entries will not be written
            entries, self._waiting = self._waiting, []
            for entry in entries:
                self._written[entry.key].set_result(False)
        self._start_writes()

    async def _write(self, entries: Sequence[Entry]) -> None:
        remaining = list(entries)

        async def write_remaining() -> None:
            store = await self._entries()
            refused = checked_positions(await store.complete(remaining), len(remaining))
            for position, entry in enumerate(remaining):
                if position not in refused:
                    self._written[entry.key].set_result(True)
            remaining[:] = [remaining[position] for position in sorted(refused)]
            if remaining:
                raise ServiceError("the table did not process all items", code="UnprocessedItems", transient=True)

        try:
            await retry(write_remaining, deadline=self._deadline)
        except Exception:
            self._logger.warning(
                "%d records are done, but their idempotency entries could not be written; they will be redelivered",
                len(remaining),
                exc_info=True,
            )
        finally:
            for entry in remaining:
                self._written[entry.key].set_result(False)
