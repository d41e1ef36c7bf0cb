"""The outcomes of one batch: stored as its handlers end, settled unless they are done, and final at the response."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from fanfold._base.deadline import Deadline
from fanfold._base.ordering import Lane, Unit, group_of, in_order
from fanfold._base.outcome import (
    BLOCKED_IN_GROUP,
    DONE,
    Done,
    Failed,
    NotStarted,
    Outcome,
    Reject,
    Rejected,
    Retry,
    Retrying,
    are_all_done,
)
from fanfold._base.record import Record, is_fifo
from fanfold._base.threads import storable
from fanfold._consumer.classify import final_outcome, outcome_of, without_details
from fanfold.errors import AbandonedError, DecodeError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._base.backoff import Backoff
    from fanfold._consumer.failure_log import FailureLog
    from fanfold._consumer.settle import OpenSettler, Settling
    from fanfold.observers import BreakerActivity

ABANDONED = Failed(AbandonedError())
"""The outcome of a record from its start until its handler ends."""


class BatchOutcomes:
    """The outcomes of a batch.

    Args:
        records: The records of the batch.
        deadline: The deadline of the invocation.
        open_settler: Opens what sends dead letters and sets delays.
        backoff: Delays of records that failed; None for none.
        dead_letters: Whether there is a dead-letter queue.
        reject_on: Returns whether an error is permanent.
        keep_details: Whether anything reads return values and errors.
        delay_after: Returns the seconds after which a service that is overloaded asks to be called again, from the
            error; None if it does not.
        on_interrupt: Called if a handler raises KeyboardInterrupt.
        defers: Returns whether a record that failed is settled only at the end, by ``settle_deferred``, from its
            position and its error; None if none is.
    """

    def __init__(  # noqa: PLR0913 - keywords, each something else that an outcome depends on
        self,
        records: Sequence[Record],
        *,
        deadline: Deadline,
        open_settler: OpenSettler,
        backoff: Backoff | None,
        dead_letters: bool,
        reject_on: Callable[[BaseException], bool],
        keep_details: bool,
        on_interrupt: Callable[[], None],
        delay_after: Callable[[BaseException], float | None] | None = None,
        defers: Callable[[int, BaseException], bool] | None = None,
    ) -> None:
        self.values: list[Outcome | None] = [None] * len(records)
        """By position: None for a record that has not started."""
        self.failures: FailureLog | None = None
        """The errors to log; None if there is none."""
        self.interrupt: KeyboardInterrupt | None = None
        """The KeyboardInterrupt that a handler raised."""
        self.are_held_back: bool = False
        """True once it is known that a breaker holds every record back."""
        self.has_rejected: bool = False
        """True once a record was rejected."""
        self._records = records
        self._deadline = deadline
        self.settling: Settling | None = None
        """Sends dead letters, and sets delays; None while there is nothing to settle."""
        self.has_dead_letter_queue: bool = dead_letters
        """True if rejected messages are sent to a dead-letter queue."""
        self._open_settler = open_settler
        self._backoff = backoff
        self._reject_on = reject_on
        self._keep_details = keep_details
        self._on_interrupt = on_interrupt
        self._delay_after = delay_after
        self._defers = defers
        self.is_fifo: bool = is_fifo(records)
        """True if the records come from a FIFO queue."""
        self._delays: dict[int, int] = {}
        self._settles = True

    @property
    def are_settled(self) -> bool:
        """True if every record that has ended is settled, or has been given up."""
        return self.settling is None or self.settling.is_idle

    def settle(self) -> Settling:
        """Return what settles, which the first call creates."""
        if self.settling is None:
            from fanfold._consumer.settle import Settling  # not imported at cold start

            self.settling = Settling(self._open_settler, backoff=self._backoff, dead_letters=self.has_dead_letter_queue)
            if not self._settles:
                self.settling.stop()
        return self.settling

    def close(self) -> None:
        """Settle nothing from now on: the response is known, and another consumer may have the messages."""
        self._settles = False
        self._on_interrupt = _nothing  # a batch in a cycle of references would stay in memory until a collection
        if self.settling is not None:
            self.settling.stop()

    def failure_log(self) -> FailureLog:
        """Return the log of errors, which the first call creates."""
        if self.failures is None:
            from fanfold._consumer.failure_log import FailureLog

            self.failures = FailureLog()
        return self.failures

    def log_error_of_worker(self, error: BaseException) -> None:
        """Log an error that is not one of a record."""
        self.failure_log().add_from_worker(error)

    def store(self, unit: Unit, results: Sequence[object]) -> bool:
        """Store the outcome of each record of a unit; return whether its lane may continue, as far as it is known.

        On a FIFO queue, a rejected record may still be on its way to the dead-letter queue: ask ``lane_continues``.

        Args:
            unit: Positions of the records.
            results: What the handler returned or raised for each.
        """
        group_continues = True
        for position, result in zip(unit, results, strict=True):
            if group_continues:
                outcome = self.values[position] = DONE if result is None else self._outcome_of(position, result)
                group_continues = not self.is_fifo or isinstance(outcome, Done | Rejected)
            else:
                self.values[position] = BLOCKED_IN_GROUP
        return group_continues

    def store_each(self, results: Mapping[int, object]) -> None:
        """Store the outcome of records by position."""
        for position, result in results.items():
            self.store((position,), [result])

    async def lane_continues(self, unit: Unit) -> bool:
        """Return whether every record of a FIFO unit is done, or rejected and in the dead-letter queue."""
        outcomes = [self.values[position] for position in unit]
        forwarded: Collection[int] = ()
        if self.settling is not None and any(isinstance(outcome, Rejected) for outcome in outcomes):
            await self.settling.wait_for_dead_letters(self._deadline.until(self._deadline.stops_at))
            forwarded = self.settling.forwarded
        return all(
            isinstance(outcome, Done) or (isinstance(outcome, Rejected) and position in forwarded)
            for position, outcome in zip(unit, outcomes, strict=True)
        )

    def skip_rest_of_lane(self, lane: Lane, unit: Unit) -> None:
        """Report the rest of a FIFO lane for redelivery, with the same delay as the record that failed."""
        delay = next((self._delays[position] for position in unit if position in self._delays), None)
        for position in (position for later in lane[lane.index(unit) + 1 :] for position in later):
            self.values[position] = BLOCKED_IN_GROUP
            if delay is not None:
                self.settle().change_visibility(self._records[position], delay)

    def delay_not_started(self, seconds: float) -> None:
        """Delay the redelivery of every message whose record has not started."""
        for position, value in enumerate(self.values):
            if value is None:
                self.settle().add(position, self._records[position], Retrying(seconds))

    def settle_deferred(self, position: int, outcome: Outcome, *, at_least: float | None = None) -> None:
        """Settle a record that failed as if it had failed now; on a FIFO queue, also what waits for it in its group."""
        if self._backoff is None and isinstance(outcome, Failed):
            return  # the queue's visibility timeout may be longer than ``at_least``
        delay = self.settle().add(position, self._records[position], outcome, at_least=at_least)
        if delay is not None and self.is_fifo:
            group = group_of(self._records[position])
            for later, record in enumerate(self._records):
                if later > position and group_of(record) == group and self.values[later] is BLOCKED_IN_GROUP:
                    self.settle().change_visibility(record, delay)

    def final(self, committed: Collection[int] | None, not_started: str) -> list[Outcome]:
        """Return the outcome of each record as far as it is known now.

        Args:
            committed: Positions of the records whose results are committed; None if no commit is needed.
            not_started: Why the others were not started.
        """
        values = list(self.values)
        if committed is None and are_all_done(values):
            return cast("list[Outcome]", values)
        forwarded = frozenset(() if self.settling is None else self.settling.forwarded)
        copied = {} if self.settling is None else dict(self.settling.copied)
        usual = DONE if committed is None else ABANDONED  # already final: skips a call for most records
        outcomes: list[Outcome] = [
            outcome
            if outcome is usual
            else Retrying(copied[position], "a copy replaces it, because it had no receive left", copied=True)
            if position in copied
            else NotStarted(not_started)
            if outcome is None
            else final_outcome(
                outcome,
                is_committed=committed is None or position in committed,
                is_forwarded=position in forwarded,
            )
            for position, outcome in enumerate(values)
        ]
        return in_order(self._records, outcomes) if self.is_fifo else outcomes

    def _is_deferred(self, position: int, raised: BaseException | None, outcome: Outcome) -> bool:
        if self._defers is None or not isinstance(outcome, Failed | Retrying):
            return False
        error = outcome.error if isinstance(outcome, Failed) else raised  # a handler can also return ``Failed``
        return error is not None and self._defers(position, error)

    def _outcome_of(self, position: int, result: object) -> Outcome:
        """Return the outcome for what a handler returned or raised; start to settle it unless it is done."""
        record = self._records[position]
        try:
            raised = storable(result) if isinstance(result, BaseException) else None
        except BaseException as error:  # noqa: BLE001 - a value whose class cannot be read
            raised = error
        if raised is not None:
            result = raised
            if isinstance(raised, KeyboardInterrupt):
                self.interrupt = raised
                self._on_interrupt()
            if not isinstance(raised, DecodeError | Reject | Retry):  # a bad message, or a decision of the handler's
                self.failure_log().add(record, raised)
        try:
            outcome = outcome_of(result, self._reject_on)
        except BaseException as error:  # noqa: BLE001 - a value of the user's that cannot be classified
            outcome = Failed(error)
        self.has_rejected |= isinstance(outcome, Rejected)
        if self._is_deferred(position, raised, outcome):
            return outcome if self._keep_details else without_details(outcome)
        seconds = None if self._delay_after is None or raised is None else self._delay_after(raised)
        if seconds is None and (isinstance(outcome, Done) or (isinstance(outcome, Failed) and self._backoff is None)):
            return outcome if self._keep_details else without_details(outcome)
        delay = self.settle().add(position, record, outcome, at_least=seconds)
        if delay is not None:
            self._delays[position] = delay
        return outcome if self._keep_details else without_details(outcome)


class HoldsRecords(Protocol):
    """Holds records of a batch back while a service is down; see ``held_records``."""

    @property
    def is_idle(self) -> bool:
        """True if there is nothing to do at the end of the batch."""
        ...

    def defers(self, position: int, error: BaseException) -> bool:
        """Return whether a record that failed is settled only at the end of the batch."""
        ...

    def activity(self) -> Sequence[BreakerActivity]:
        """Return what the breakers have done since the last call."""
        ...

    def wait(self, unit: Unit, now: float, seconds: float) -> float:
        """Return the seconds until a unit may start, given those that the policies of admission ask for."""
        ...

    async def finish(self, outcomes: BatchOutcomes, moment: float, *, is_refused: bool) -> None:
        """Settle what is held back, until a moment."""
        ...


def _nothing() -> None:
    """Do nothing."""
