"""The messages of one batch that a breaker holds back: held in their queue, so that their receives last."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from fanfold._base.backoff import DELIVERY, random_share
from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._base.message_copy import first_sent, may_be_copied
from fanfold._base.ordering import Unit, group_of
from fanfold._base.outcome import BLOCKED_IN_GROUP
from fanfold._base.record import Record, Records, is_fifo
from fanfold._breakers.blocks import BreakerOpenError
from fanfold._breakers.breaker_state import PROBE_POLL_SECONDS
from fanfold._breakers.hold_times import (
    LEAST_SECONDS,
    UNKNOWN_RECEIVES,
    copy_seconds,
    hold_seconds,
    hold_seconds_alone,
    receives_left,
)
from fanfold._breakers.keeper import Keeper
from fanfold._breakers.window import SPAN_SECONDS
from fanfold._consumer.outcomes import ABANDONED
from fanfold._ports.breakers import Held

if TYPE_CHECKING:
    from fanfold._consumer.outcomes import BatchOutcomes
    from fanfold.observers import BreakerActivity

_SCARCE_RECEIVES: Final = 2
"""Receives left from which a message that failed waits longer than its backoff."""
_KEEPER_SHARE: Final = 1 / 3
"""Share of the time left at the end of a batch for what the breakers have begun; the rest is for the queue."""
_MOST_ALONE_SECONDS: Final = 3_600.0
_LAST_WAIT_SECONDS: Final = 30.0
"""Time for which a message on its last receive waits for the service, without a deadline."""


class OpenBreakers(Protocol):
    """The breakers of a consumer, as far as its batches need them; see ``Breakers``."""

    keepers: list[Keeper]

    @property
    def max_receives(self) -> int | None: ...
    @property
    def wait_in_invocation(self) -> bool: ...
    @property
    def are_idle(self) -> bool: ...
    @property
    def holding(self) -> Keeper | None: ...
    @property
    def open_of_consumer(self) -> Keeper | None: ...
    def keeper_of(self, error: BaseException) -> Keeper | None: ...
    def log_not_stored(self) -> None: ...
    def redelivered(self) -> None: ...


class HeldRecords:
    """The records of a batch that a breaker holds back.

    Args:
        records: The records of the batch.
        breakers: The breakers of the consumer.
        deadline: The deadline of the invocation.
    """

    def __init__(self, records: Sequence[Record], breakers: OpenBreakers, deadline: Deadline) -> None:
        self._records = records
        self._breakers = breakers
        self._deadline = deadline
        now = deadline.clock()
        until = now + _LAST_WAIT_SECONDS if math.isinf(deadline.stops_at) else deadline.stops_at
        self._tries_from = (now + until) / 2 if breakers.wait_in_invocation else now
        """Time from which a message on its last receive is processed although the service is down."""
        if _are_redelivered(records):
            breakers.redelivered()
        self._not_called: set[int] = set()
        """Positions of records that a ``with`` block refused to call the service for."""
        self._failed: dict[int, Keeper] = {}
        """The breaker for which each record counts that failed, by position."""
        self._cut_off: set[int] = set()
        """Positions of records that were cancelled, or took too long: perhaps because the service does not respond."""

    @property
    def is_idle(self) -> bool:
        """True if there is nothing to do at the end of the batch."""
        return not (self._failed or self._cut_off) and self._breakers.are_idle

    def defers(self, position: int, error: BaseException) -> bool:
        """Return whether a record failed because a service is down: then it is settled at the end of the batch."""
        if (keeper := self._breakers.keeper_of(error)) is None:
            if not issubclass(type(error), asyncio.CancelledError | TimeoutError):
                return False
            self._cut_off.add(position)
            return True
        self._failed[position] = keeper
        if issubclass(type(error), BreakerOpenError):
            self._not_called.add(position)
        return True

    def activity(self) -> Sequence[BreakerActivity]:
        """Return what the breakers have done since the last call."""
        activities = [keeper.take_activity() for keeper in self._breakers.keepers]
        return [activity for activity in activities if activity is not None]

    def wait(self, unit: Unit, now: float, seconds: float) -> float:
        """Return the seconds until a unit may start: a message on its last receive waits no longer than it can."""
        keeper = self._breakers.holding
        if keeper is None or not keeper.state.is_open or not any(self._is_tried(keeper, place) for place in unit):
            return seconds
        return 0.0 if now >= self._tries_from else min(seconds, PROBE_POLL_SECONDS, self._tries_from - now)

    def _is_tried(self, keeper: Keeper, position: int) -> bool:
        return self._is_last(position) and not self._is_copied(position, keeper)

    def _is_last(self, position: int) -> bool:
        return receives_left(self._records[position], self._breakers.max_receives) == 0

    async def finish(self, outcomes: BatchOutcomes, moment: float, *, is_refused: bool) -> None:
        """Hold the messages of breakers that are open, and settle the others.

        Args:
            outcomes: The outcomes of the batch.
            moment: When to stop, on the clock of the deadline.
            is_refused: Whether a policy let no more records start.
        """
        try:
            await self._finish(outcomes, moment, is_refused=is_refused)
        except Exception:
            logger.exception("a breaker failed; messages are redelivered after their visibility timeout")

    async def _finish(self, outcomes: BatchOutcomes, moment: float, *, is_refused: bool) -> None:
        keepers = self._breakers.keepers
        left = self._deadline.until(moment)
        within = None if left is None else left * _KEEPER_SHARE
        await asyncio.gather(*(keeper.finish(within) for keeper in keepers))
        held = self._held(outcomes, is_refused=is_refused)
        outcomes.are_held_back = len(held) == len(self._records)
        self._copy(outcomes, held)
        seconds, messages = self._to_hold(held)
        pages = await self._store(messages, moment)
        for position in seconds:
            outcomes.settle().change_visibility(self._records[position], seconds[position])
        if outcomes.settling is not None:
            await outcomes.settling.finish(self._deadline.until(moment))
        within = self._deadline.until(moment)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.gather(*(keeper.release_if_closed(messages[keeper], pages[keeper]) for keeper in pages))
        await asyncio.gather(*(keeper.release(self._deadline.until(moment)) for keeper in keepers))

    def _held(self, outcomes: BatchOutcomes, *, is_refused: bool) -> dict[int, Keeper]:
        """Return the records to hold, by position; settle those that failed although their breaker is closed."""
        if (open_keeper := self._breakers.open_of_consumer) is not None:
            abandoned = {position for position, value in enumerate(outcomes.values) if value is ABANDONED}
            self._failed.update(dict.fromkeys(self._cut_off | abandoned, open_keeper))
        held = {
            position: keeper
            for position, keeper in self._failed.items()
            if keeper.state.is_open or self._is_copied(position, keeper)
        }
        for position in (self._failed.keys() | self._cut_off) - held.keys():
            # Not for as long as the block asked for, while it was open: nobody would release the message.
            outcome = ABANDONED if position in self._not_called else outcomes.values[position] or ABANDONED
            at_least = self._least_delay(position) if position in self._failed else None
            outcomes.settle_deferred(position, outcome, at_least=at_least)
        holding = self._breakers.holding if is_refused else None
        keeper = holding if holding is not None and holding.state.is_open else self._breakers.open_of_consumer
        if keeper is not None:
            not_started = [position for position, value in enumerate(outcomes.values) if value is None]
            keeper.state.calls_saved += len(not_started)
            held.update(dict.fromkeys(not_started, keeper))
        if outcomes.is_fifo:
            groups = {group_of(self._records[position]): keeper for position, keeper in held.items()}
            for position, value in enumerate(outcomes.values):
                keeper = groups.get(group_of(self._records[position]))
                if keeper is not None and (value is None or value is BLOCKED_IN_GROUP):
                    held.setdefault(position, keeper)
        return held

    def _least_delay(self, position: int) -> float | None:
        """Return the least delay of a message that failed, although its breaker is closed; None for any.

        It is so long that another failure opens the circuit before the message has no receive left.
        """
        keeper, record = self._failed[position], self._records[position]
        if receives_left(record, self._breakers.max_receives) > _SCARCE_RECEIVES:
            return SPAN_SECONDS if keeper.state.is_failing else None
        sent = first_sent(record) if keeper.is_alone else None
        age = 0.0 if sent is None else keeper.state.breaker.clock() - sent  # no other one may know that it is down
        return min(max(SPAN_SECONDS, age), _MOST_ALONE_SECONDS)

    def _is_copied(self, position: int, keeper: Keeper) -> bool:
        """Return whether a copy replaces a message, because it has no receive left."""
        breaker, record = keeper.state.breaker, self._records[position]
        is_meant = breaker.last == "copy" and self._is_last(position)
        return is_meant and may_be_copied(record, breaker.clock(), breaker.outage_budget)

    def _copy(self, outcomes: BatchOutcomes, held: dict[int, Keeper]) -> None:
        """Send copies of messages that have no receive left, and hold those no more."""
        for position, keeper in list(held.items()):
            if self._is_copied(position, keeper):
                seconds = copy_seconds(keeper.age) if keeper.state.is_open else LEAST_SECONDS
                outcomes.settle().copy(position, self._records[position], math.ceil(seconds))
                del held[position]

    def _hold_seconds(self, keeper: Keeper, positions: Sequence[int]) -> dict[int, float]:
        """Return for each message how long it is held; the same time for those of a group of a FIFO queue.

        The group waits for the last one of them.
        """
        breaker, fewest = keeper.state.breaker, dict[object, int]()
        groups: dict[int, object] = {}
        first: dict[object, Record] = {}
        for position in positions:
            record = self._records[position]
            left = receives_left(record, self._breakers.max_receives)
            if breaker.last == "copy" and may_be_copied(record, breaker.clock(), breaker.outage_budget):
                left = max(left, UNKNOWN_RECEIVES)  # a copy has all receives again
            groups[position] = group_of(record) if is_fifo([record]) else position
            fewest[groups[position]] = min(left, fewest.get(groups[position], left))
            first.setdefault(groups[position], record)
        rest, seconds = breaker.outage_budget - keeper.age, dict[object, float]()
        for group, left in fewest.items():
            DELIVERY.set((first[group].message_id, first[group].receive_count))
            if keeper.is_alone:
                seconds[group] = hold_seconds_alone(left, rest, keeper.age)
            else:
                seconds[group] = hold_seconds(left, rest, random_share(), has_tick=keeper.has_tick)
        return {position: seconds[group] for position, group in groups.items()}

    def _to_hold(self, held: dict[int, Keeper]) -> tuple[dict[int, int], dict[Keeper, list[Held]]]:
        """Return how long each message is held, in seconds by position, and the messages of each breaker."""
        whole: dict[int, int] = {}
        by_keeper: dict[Keeper, list[Held]] = {}
        for keeper in self._breakers.keepers:
            positions = sorted(position for position, owner in held.items() if owner is keeper)
            if not positions:
                continue
            now = keeper.state.breaker.clock()
            messages = by_keeper[keeper] = []
            for position, seconds in self._hold_seconds(keeper, positions).items():
                record, whole[position] = self._records[position], math.ceil(seconds)
                left = receives_left(record, self._breakers.max_receives)
                messages.append(Held(record.queue_arn, record.receipt_handle, now + whole[position], left))
        return whole, by_keeper

    async def _store(self, messages: dict[Keeper, list[Held]], moment: float) -> dict[Keeper, int]:
        """Store messages before they are held: they are released even if this environment is ended in between.

        Returns:
            The number of the last page of each breaker; 0 if its messages could not be stored.
        """
        left = self._deadline.until(moment)
        pages = dict.fromkeys(messages, 0)

        async def store(keeper: Keeper) -> None:
            pages[keeper] = await keeper.store(messages[keeper])

        try:
            async with asyncio.timeout(None if left is None else left * _KEEPER_SHARE):
                await asyncio.gather(*map(store, messages))
        except TimeoutError:
            self._breakers.log_not_stored()
        return pages


def _are_redelivered(records: Sequence[Record]) -> bool:
    """Return whether a record was received before."""
    raws = records.raws if isinstance(records, Records) else [record.raw for record in records]
    counts = {(raw.get("attributes") or {}).get("ApproximateReceiveCount") for raw in raws}
    return bool(counts - {"1", None})
