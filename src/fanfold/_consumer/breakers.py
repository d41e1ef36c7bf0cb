"""The breakers of a consumer in one execution environment."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fanfold._base.dead_letter import configured_max_receives
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._breakers.blocks import Block
from fanfold._breakers.breaker import QUEUE_VARIABLE, Breaker, breaker_named, register
from fanfold._breakers.breaker_limit import BreakerLimit
from fanfold._breakers.breaker_state import BreakerState
from fanfold._breakers.counted import counted_by
from fanfold._breakers.keeper import Keeper
from fanfold._breakers.mapping_pause import MappingPause
from fanfold._breakers.shared_table import OpenedTable, SharedTable
from fanfold._breakers.ticks import breaker_of_tick, is_of_queue, is_watch, tick_body
from fanfold._consumer.admission import AdaptiveLimit, Admission, Policy
from fanfold.errors import ServiceError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.resources import Resources

PAUSE_VARIABLE: Final = "FANFOLD_BREAKER_PAUSES_MAPPING"
_UNKNOWN_SECONDS: Final = 60.0
"""Seconds until the next delivery of a tick whose breaker is not known: a ``with`` block may not have used it yet."""
_UNKNOWN_RECEIVES: Final = 100


class Breakers:
    """The breakers of a consumer in one execution environment.

    Args:
        breakers: Their settings.
        environment: The event loop, the threads, the settler, and what opens tables.
        clock: Returns the time of the deadlines.
        copy_of: Returns what to use in place of the breaker of a ``with`` block; None for the breaker itself.
    """

    def __init__(
        self,
        breakers: Sequence[Breaker],
        environment: Resources,
        clock: Callable[[], float],
        copy_of: Callable[[Breaker], Breaker] | None = None,
    ) -> None:
        self.keepers: list[Keeper] = [_keeper(breaker, environment, clock) for breaker in breakers]
        """Readers and writers of the state of each: first those of the consumer, then those of ``with`` blocks."""
        self._of_consumer = len(breakers)
        self._environment, self._clock, self._copy_of = environment, clock, copy_of
        self._limits: list[BreakerLimit] = []
        self._refused: set[str] = set()
        """Names that two breakers have."""
        self._lock = threading.Lock()
        register(environment.loop, self._block)

    @property
    def wait_in_invocation(self) -> bool:
        """False in a simulation whose time stands still during an invocation."""
        return all(keeper.state.breaker.waits for keeper in self.keepers)

    @property
    def max_receives(self) -> int | None:
        """The receives after which a message is moved to the dead-letter queue; None if it is not known."""
        simulated = [keeper.state.breaker.max_receives for keeper in self.keepers]
        return next(filter(None, simulated), None) or configured_max_receives()

    @property
    def are_idle(self) -> bool:
        """True if nothing has to be read, written, or made visible."""
        return all(keeper.is_idle for keeper in self.keepers)

    @property
    def holding(self) -> Keeper | None:
        """The breaker that lets no record start; None if none does."""
        states = [limit.holding for limit in self._limits]
        return next((keeper for keeper in self.keepers if keeper.state in states), None)

    @property
    def open_of_consumer(self) -> Keeper | None:
        """A breaker of the consumer, not of ``with`` blocks, that is open; None if none is."""
        return next((keeper for keeper in self.keepers[: self._of_consumer] if keeper.state.is_open), None)

    def batch_starts(self, records: Sequence[Record], lambda_context: Any) -> None:
        """Have the circuits of ``with`` blocks read that are not known to be closed; admission does so for others."""
        # A tick reads its circuit itself: a read here would claim the probe, for which its batch has no record.
        for keeper in () if self.is_tick(records) else self.keepers[self._of_consumer :]:
            keeper.state.batch_starts()
        for keeper in self.keepers:
            if keeper.mapping_pause is not None:
                keeper.mapping_pause.function = str(getattr(lambda_context, "invoked_function_arn", ""))
                if records and not self.is_tick(records):
                    keeper.mapping_pause.queues.add(records[0].queue_arn)

    def keeper_of(self, error: BaseException) -> Keeper | None:
        """Return the breaker for which an error counts; None if there is none."""
        if (keeper := counted_by(error)) is not None:
            return keeper  # type: ignore[no-any-return] # see ``marked``
        declared = self.keepers[: self._of_consumer]
        return next((keeper for keeper in declared if keeper.state.breaker.counts(error)), None)

    def redelivered(self) -> None:
        """Have circuits read for a message that was received before."""
        for keeper in self.keepers:
            keeper.state.redelivered()

    @property
    def gate_records(self) -> bool:
        """True if admission must ask one of them before each record."""
        return self._of_consumer > 0

    def _block(self, breaker: Breaker) -> Block | None:
        """Return a ``with`` block, from any thread; None if another breaker has its name."""
        keeper = self.of_block(breaker)
        if keeper.state.breaker.on == breaker.on:
            return Block(keeper)
        if breaker.name not in self._refused:
            self._refused.add(breaker.name)
            logger.error(
                "two breakers with different errors have the name %r: the blocks of the second one have no effect; use "
                "one name for each service",
                breaker.name,
            )
        return None

    def of_block(self, breaker: Breaker) -> Keeper:
        """Return the keeper of the breaker of a ``with`` block, which the first block creates; from any thread."""
        with self._lock:
            for keeper in self.keepers:
                if keeper.state.breaker.name == breaker.name:
                    return keeper
            breaker = breaker if self._copy_of is None else self._copy_of(breaker)
            keeper = _keeper(breaker, self._environment, self._clock, is_of_blocks=True)
            self.keepers.append(keeper)
            return keeper

    def admission(self, policies: Sequence[Policy], inner: AdaptiveLimit | None, concurrency: int | None) -> Admission:
        """Return the limits of batches, with the breakers as the first one."""
        declared = self.keepers[: self._of_consumer]
        limit = BreakerLimit([keeper.state for keeper in declared], inner, concurrency or sys.maxsize)
        admission = Admission(policies, adaptive=limit)
        self._limits.append(limit)

        def notify() -> None:
            limit.adjust()
            if admission.limit_changed():
                admission.slots.fill()

        for keeper in declared:
            keeper.state.listeners.append(notify)
        return admission

    def log_not_stored(self) -> None:
        """Log that messages are held without a record in the table."""
        names = ", ".join(repr(keeper.state.breaker.name) for keeper in self.keepers)
        logger.warning(
            "breaker %s: not all held messages could be stored in time; they become visible at the end of their "
            "visibility timeout",
            names,
        )

    def is_tick(self, records: Sequence[Record]) -> bool:
        """Return whether a batch comes from the queue of tick messages, or from the rule that watches breakers."""
        return is_watch(records) or is_of_queue(records, os.environ.get(QUEUE_VARIABLE, ""))

    async def tick(self, record: Record) -> float | None:
        """Handle a tick message, or the rule's event; return the seconds until the next tick, None for no more."""
        if is_watch([record]):
            for keeper in self.keepers:
                await keeper.tick("")
            return None
        name = breaker_of_tick(record.body)
        named = [keeper for keeper in self.keepers if keeper.state.breaker.name == name]
        if not named and name and (of_block := breaker_named(name)) is not None:
            named = [self.of_block(of_block)]
        if named:
            return await named[0].tick(record.message_id)
        logger.warning("a tick message names no breaker that is in use here: %s", record.body)
        return _UNKNOWN_SECONDS if name and record.receive_count < _UNKNOWN_RECEIVES else None


def _keeper(
    breaker: Breaker, environment: Resources, clock: Callable[[], float], *, is_of_blocks: bool = False
) -> Keeper:
    return Keeper(
        BreakerState(breaker, clock),
        SharedTable(breaker.name, _opened_table(breaker, environment), breaker.clock),
        environment.settler,
        environment.loop,
        environment.threads.run,
        _send_tick(environment),
        _mapping_pause(breaker, environment),
        is_of_blocks=is_of_blocks,
    )


def _opened_table(breaker: Breaker, environment: Resources) -> OpenedTable | None:
    if breaker.open_table is not None:
        return environment.open_once(breaker.open_table, None)
    if table := breaker.table:
        return environment.open_table(table)
    return None


def _send_tick(environment: Resources) -> Callable[[str], Awaitable[object]] | None:
    url = os.environ.get(QUEUE_VARIABLE, "")
    if not url:
        return None
    open_queue = environment.open_queue(url)

    async def send(name: str) -> None:
        from fanfold._ports.queue import Message

        for refusal in await (await open_queue()).send([Message(tick_body(name))]):
            raise ServiceError(f"queue {url}: {refusal.reason}", code="BatchEntryFailed", transient=not refusal.final)

    return send


def _mapping_pause(breaker: Breaker, environment: Resources) -> MappingPause | None:
    if os.environ.get(PAUSE_VARIABLE, "").strip().lower() != "true":
        return None
    if breaker.probe is None:
        logger.warning("breaker %r: its mapping is not paused, because that needs a function as `probe`", breaker.name)
        return None
    return MappingPause(breaker.name, environment.open_mappings())
