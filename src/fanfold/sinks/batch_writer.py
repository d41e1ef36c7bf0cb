"""Many items to a DynamoDB table: in batches as large as it takes, each sent until none is left over."""

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
"""Calls in flight at once."""
_REQUEST_BYTES: Final = 64
"""What is sent for one item beside it: ``{"DeleteRequest":{"Key":…}},``, and its share of the rest of the call."""
_KEY_BYTES: Final = (aws_limits.DYNAMODB_PARTITION_KEY_BYTES, aws_limits.DYNAMODB_SORT_KEY_BYTES)
"""Longest partition key and sort key."""


class BatchWriter:
    """Writes items to a table, and deletes items from it, in batches; for use with ``async with``.

    What is written waits until there is enough for some full batches, or ``flush`` is called, as leaving ``async with``
    does where no error is under way. Of two writes to one key that wait at the same time the later one counts, and is
    the only one sent; a batch is over before a later one is begun, so that a key ends with the last that was written to
    it. What DynamoDB left over is sent again, after a pause that grows and is jittered, until nothing is, or the
    deadline comes; without a deadline, until eight attempts in a row had no effect.

    Doing it again is safe: the same items written twice are there once.

    Args:
        items: The tables; ``fanfold.aws.writer.connect`` opens those on AWS.
        table: Name of the table.
        key: Names of the table's key attributes: one or two.
        deadline: When to stop, such as ``ctx.deadline``; None for never.
        concurrency: Calls in flight at once, from 1.
        sleep: What waits between attempts.

    Raises:
        ConfigurationError: If a setting is impossible.
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
            raise ConfigurationError(f"BatchWriter: concurrency must be a whole number from 1, not {concurrency!r}")
        self.written: int = 0
        """Writes that were accepted; of several to one key that waited together, one."""
        self._items = items
        self._table = table
        self._key = tuple(key)
        self._deadline = deadline
        self._concurrency = concurrency
        self._sleep = sleep
        self._waiting: dict[tuple[Any, ...], _Waiting] = {}
        self._flushing = anyio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.flush()

    async def put(self, item: Mapping[str, Any]) -> None:
        """Write an item, over what its key holds; may flush.

        Raises:
            ItemError: If no table takes it: over 400 KB, without its key, or with a float or another value that
                DynamoDB has no type for; nothing of it is sent.
            WriteError: If a flush failed.
        """
        await self._add(self._key_of(item), dict(item))

    async def delete(self, key: Mapping[str, Any]) -> None:
        """Delete what lies under a key, which is given by the names of its attributes; may flush.

        Raises:
            ItemError: If it is no key of the table.
            WriteError: If a flush failed.
        """
        if unknown := sorted(set(key) - set(self._key)):
            raise ItemError(f"table {self._table}: {unknown[0]!r} is not in the key, which is {list(self._key)}")
        await self._add(self._key_of(key), None)

    async def flush(self) -> None:
        """Send what waits; return when all of it was accepted.

        Raises:
            WriteError: If some of it was not; that waits on, and a later flush tries again.
        """
        async with self._flushing:  # one at a time: a later write to a key is never overtaken by an earlier one
            taken = list(self._waiting.values())
            reasons: list[ServiceError] = []

            async def write(batch: Sequence[_Waiting]) -> None:
                if (reason := await self._write(batch)) is not None:
                    reasons.append(reason)

            await for_each(write, _batches(taken), concurrency=self._concurrency)
        if reasons:
            reason = reasons[0]
            rejected = [one.write for one in taken if self._waiting.get(one.place) is one]
            message = f"{len(rejected)} items were not accepted: {reason}"
            raise WriteError(message, rejected=rejected) from reason

    async def _write(self, batch: Sequence[_Waiting]) -> ServiceError | None:
        """Send a batch until nothing of it is left; return why something is, None if nothing is."""
        waiting = list(batch)
        retries = self._retries()
        while True:
            reason, left = await self._offer([one.write for one in waiting])
            accepted = [one for position, one in enumerate(waiting) if position not in left]
            self._forget(accepted)
            waiting = [waiting[position] for position in sorted(left)]
            if not waiting:
                return None
            if accepted:
                retries.reset()
            if not reason.transient or not await retries.wait():
                return reason

    async def _offer(self, writes: Sequence[Write]) -> tuple[ServiceError, Collection[int]]:
        try:
            left = await self._items.write_batch(self._table, writes)
        except ServiceError as error:
            return error, range(len(writes))
        return ServiceError(f"table {self._table} left them over", code="UnprocessedItems", transient=True), left

    def _forget(self, accepted: Iterable[_Waiting]) -> None:
        for one in accepted:
            self.written += 1
            if self._waiting.get(one.place) is one:  # else there is a later write to the same key by now
                del self._waiting[one.place]

    def _retries(self) -> Retries:
        endless = self._deadline is None or math.isinf(self._deadline.ends_at)
        schedule = SCHEDULE if endless else RetrySchedule(None, SCHEDULE.backoff)  # else the deadline ends it
        return Retries(schedule, deadline=self._deadline, sleep=self._sleep)

    async def _add(self, key: Mapping[str, Any], item: Mapping[str, Any] | None) -> None:
        place = tuple(key[name] for name in self._key)
        try:
            size = size_of(key if item is None else item)
        except (TypeError, ValueError, RecursionError) as error:
            raise ItemError(f"table {self._table}: item {key!r} holds {error}") from error
        if size.stored_bytes > aws_limits.DYNAMODB_ITEM_BYTES:
            raise ItemError(
                f"table {self._table}: item {key!r} has {size.stored_bytes:,} bytes, where DynamoDB takes "
                f"{aws_limits.DYNAMODB_ITEM_BYTES:,}"
            )
        self._waiting.pop(place, None)  # so that it waits behind what is older
        self._waiting[place] = _Waiting(Write(key, item), place, size.sent_bytes)
        if len(self._waiting) >= self._concurrency * aws_limits.DYNAMODB_BATCH_ITEMS:
            await self.flush()

    def _key_of(self, item: Mapping[str, Any]) -> dict[str, Any]:
        key = {name: item.get(name) for name in self._key}
        for (name, value), most in zip(key.items(), _KEY_BYTES, strict=False):
            text = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
            is_number = isinstance(text, int | Decimal) and not isinstance(text, bool)
            if not is_number and not (isinstance(text, bytes) and 1 <= len(text) <= most):
                raise ItemError(
                    f"table {self._table}: an item has {value!r:.80} as its key {name!r}, which has to be a number, or "
                    f"text or bytes of 1 to {most:,} bytes"
                )
        return key


@dataclass(frozen=True, slots=True)
class _Waiting:
    write: Write
    place: tuple[Any, ...]
    sent_bytes: int


def _batches(waiting: Iterable[_Waiting]) -> Iterator[list[_Waiting]]:
    """Yield what waits, in order, in batches of at most 25 items and 16 MB on the wire."""
    batch: list[_Waiting] = []
    batch_bytes = 0
    for one in waiting:
        size = one.sent_bytes + _REQUEST_BYTES
        if len(batch) == aws_limits.DYNAMODB_BATCH_ITEMS or batch_bytes + size > aws_limits.DYNAMODB_BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(one)
        batch_bytes += size
    if batch:
        yield batch
