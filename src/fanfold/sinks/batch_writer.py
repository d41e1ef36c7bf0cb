"""Write many items to a DynamoDB table: in batches of the maximum size, with retries of unprocessed items."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

import anyio

from fanfold._base import aws_limits
from fanfold._base.concurrency import for_each
from fanfold._base.deadline import Deadline
from fanfold._base.retry import SCHEDULE, Retries, RetrySchedule, Sleep
from fanfold._ports.stores import ItemStore, Write
from fanfold.errors import ConfigurationError, ItemError, ServiceError, WriteError
from fanfold.sinks.item_sizes import size_of

CONCURRENCY: Final = 4
"""Concurrent calls."""
_REQUEST_BYTES: Final = 64
"""Request overhead of one item: ``{"DeleteRequest":{"Key":…}},``, and its share of the rest of the call."""
_KEY_BYTES: Final = (aws_limits.DYNAMODB_PARTITION_KEY_BYTES, aws_limits.DYNAMODB_SORT_KEY_BYTES)
"""Maximum bytes of a partition key and of a sort key."""


class BatchWriter:
    """Writes items to a table, and deletes items from it, in batches; for use with ``async with``.

    Writes are buffered until they fill several batches or you call ``flush``; leaving ``async with`` without an error
    also flushes. Of several buffered writes to one key, only the last is sent. A flush ends before the next one starts,
    so a key always keeps its last write. Unprocessed items are retried with exponential backoff and jitter until
    DynamoDB accepts them or the deadline is reached; without a deadline, until eight consecutive attempts accept none.

    Writing the same items again has no effect.

    Args:
        items: The store of items; ``fanfold.aws.writer.connect`` opens DynamoDB.
        table: Name of the table.
        key: Names of the table's key attributes: one or two.
        deadline: No attempt starts after its ``stops_at``, such as ``ctx.deadline``; None for no deadline.
        concurrency: Concurrent calls, from 1.
        sleep: Waits between attempts.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(
        self,
        items: ItemStore,
        table: str,
        *,
        key: Sequence[str],
        deadline: Deadline | None = None,
        concurrency: int = CONCURRENCY,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        if isinstance(key, str) or not 1 <= len(key) <= 2:  # noqa: PLR2004 - a partition key, and a sort key
            raise ConfigurationError(f"BatchWriter: key must be a list of one or two names, not {key!r}")
        if type(concurrency) is not int or concurrency < 1:
            raise ConfigurationError(f"BatchWriter: concurrency must be an integer of at least 1, not {concurrency!r}")
        self.written: int = 0
        """Number of accepted writes; several buffered writes to one key count as one."""
        self._items = items
        self._table = table
        self._key = tuple(key)
        self._deadline = deadline
        self._concurrency = concurrency
        self._sleep = sleep
        self._buffer: dict[tuple[Any, ...], _Buffered] = {}
        self._flushing = anyio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.flush()

    async def put(self, item: Mapping[str, Any]) -> None:
        """Put an item, replacing any item with its key; may flush.

        Raises:
            ItemError: If DynamoDB cannot store the item: it is over 400 KB, lacks its key, or has a float or another
                value of an unsupported type. It is not sent.
            WriteError: If a flush failed.
        """
        await self._add(self._key_of(item), dict(item))

    async def delete(self, key: Mapping[str, Any]) -> None:
        """Delete the item of a key, specified as a dict of its key attributes; may flush.

        Raises:
            ItemError: If it is not a key of the table.
            WriteError: If a flush failed.
        """
        if unknown := sorted(set(key) - set(self._key)):
            raise ItemError(f"table {self._table}: {unknown[0]!r} is not in the key, which is {list(self._key)}")
        await self._add(self._key_of(key), None)

    async def flush(self) -> None:
        """Send the buffered writes; return when all of them have been accepted.

        Raises:
            WriteError: If some writes were not accepted; they stay in the buffer, and the next flush retries them.
        """
        async with self._flushing:  # one flush at a time: an earlier write to a key never overwrites a later one
            buffered = list(self._buffer.values())
            reasons: list[ServiceError] = []

            async def write(batch: Sequence[_Buffered]) -> None:
                if (reason := await self._write(batch)) is not None:
                    reasons.append(reason)

            await for_each(write, _batches(buffered), concurrency=self._concurrency)
        if reasons:
            reason = reasons[0]
            rejected = [entry.write for entry in buffered if self._buffer.get(entry.key_values) is entry]
            message = f"{len(rejected)} items were not accepted: {reason}"
            raise WriteError(message, rejected=rejected) from reason

    async def _write(self, batch: Sequence[_Buffered]) -> ServiceError | None:
        """Send a batch with retries; return the reason if items are left, None if all have been accepted."""
        pending = list(batch)
        retries = self._retries()
        while True:
            reason, unprocessed = await self._send([entry.write for entry in pending])
            accepted = [entry for position, entry in enumerate(pending) if position not in unprocessed]
            self._remove(accepted)
            pending = [pending[position] for position in sorted(unprocessed)]
            if not pending:
                return None
            if accepted:
                retries.reset()
            if not reason.transient or not await retries.wait():
                return reason

    async def _send(self, writes: Sequence[Write]) -> tuple[ServiceError, Collection[int]]:
        try:
            unprocessed = await self._items.write_batch(self._table, writes)
        except ServiceError as error:
            return error, range(len(writes))
        return ServiceError(
            f"table {self._table} left them unprocessed", code="UnprocessedItems", transient=True
        ), unprocessed

    def _remove(self, accepted: Iterable[_Buffered]) -> None:
        for entry in accepted:
            self.written += 1
            if self._buffer.get(entry.key_values) is entry:  # else a later write to the same key is buffered
                del self._buffer[entry.key_values]

    def _retries(self) -> Retries:
        has_deadline = self._deadline is not None and not math.isinf(self._deadline.ends_at)
        schedule = RetrySchedule(None, SCHEDULE.backoff) if has_deadline else SCHEDULE  # the deadline ends the retries
        return Retries(schedule, deadline=self._deadline, sleep=self._sleep)

    async def _add(self, key: Mapping[str, Any], item: Mapping[str, Any] | None) -> None:
        key_values = tuple(key[name] for name in self._key)
        try:
            size = size_of(key if item is None else item)
        except (TypeError, ValueError, RecursionError) as error:
            raise ItemError(f"table {self._table}: item {key!r} cannot be stored: {error}") from error
        if size.stored_bytes > aws_limits.DYNAMODB_ITEM_BYTES:
            raise ItemError(
                f"table {self._table}: item {key!r} has {size.stored_bytes:,} bytes, over the DynamoDB limit of "
                f"{aws_limits.DYNAMODB_ITEM_BYTES:,}"
            )
        self._buffer.pop(key_values, None)  # so that the new entry is the last one
        self._buffer[key_values] = _Buffered(Write(key, item), key_values, size.sent_bytes)
        if len(self._buffer) >= self._concurrency * aws_limits.DYNAMODB_BATCH_ITEMS:
            await self.flush()

    def _key_of(self, item: Mapping[str, Any]) -> dict[str, Any]:
        key = {name: item.get(name) for name in self._key}
        for (name, value), maximum in zip(key.items(), _KEY_BYTES, strict=False):
            text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
            is_number = isinstance(text, int | Decimal) and not isinstance(text, bool)
            if not is_number and not (isinstance(text, bytes) and 1 <= len(text) <= maximum):
                raise ItemError(
                    f"table {self._table}: the key {name!r} of an item must be a number, or a string or bytes of 1 to "
                    f"{maximum:,} bytes, not {value!r:.80}"
                )
        return key


@dataclass(frozen=True, slots=True)
class _Buffered:
    write: Write
    key_values: tuple[Any, ...]
    sent_bytes: int


def _batches(buffered: Iterable[_Buffered]) -> Iterator[list[_Buffered]]:
    """Yield the buffered writes, in order, in batches of at most 25 items and 16 MB on the wire."""
    batch: list[_Buffered] = []
    batch_bytes = 0
    for entry in buffered:
        size = entry.sent_bytes + _REQUEST_BYTES
        if len(batch) == aws_limits.DYNAMODB_BATCH_ITEMS or batch_bytes + size > aws_limits.DYNAMODB_BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(entry)
        batch_bytes += size
    if batch:
        yield batch
