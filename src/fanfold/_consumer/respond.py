"""Run a batch on the event loop until its response is due, then log, notify the observers, and respond."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._base.outcome import (
    DONE,
    BatchResult,
    NotStarted,
    Outcome,
    Rejected,
    acknowledges,
    are_all_done,
    partial_response,
)
from fanfold._base.record import Event, Record
from fanfold._consumer.batch import FIRST_LOOK_SECONDS, Batch, OnEnded
from fanfold._consumer.calls import run_in_time
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.loop_thread import Runtime
from fanfold._consumer.process_limits import concurrent_processes
from fanfold.errors import TotalFailureError

INVOKE: ContextVar[Callable[[Any, Event, Any], BatchResult] | None] = ContextVar("fanfold_invoke", default=None)
"""Called with a consumer, an event, and a Lambda context in place of the consumer's invocation, so that tools can run a
copy of a consumer below decorators."""
_MAX_REASON_CHARACTERS = 500


class _Conducted:
    """A batch as the runtime runs it.

    Args:
        batch: The batch.
        environment: Counts the handlers that the batch leaves.
        on_ended: Called when it has ended, inside the time limit.
    """

    def __init__(
        self, batch: Batch, environment: ExecutionEnvironment, on_ended: Callable[[Batch], object] | None
    ) -> None:
        self.batch = batch
        self._environment = environment
        self.has_ended: bool = False
        """True once every record has ended or the response is due."""
        self.supervise = batch.supervise
        self.cancel = batch.cancel
        self._on_ended = on_ended

    def start(self, on_ended: OnEnded) -> None:
        """Start the batch."""

        def conclude(error: BaseException | None) -> None:
            self.has_ended = error is None
            threads = self._environment.threads
            threads.withhold()  # a log handler may hang
            try:
                if self.has_ended and self._on_ended is not None:
                    self._on_ended(self.batch)
            except BaseException as raised:  # noqa: BLE001 - also a KeyboardInterrupt reaches the invocation
                error = raised
            threads.offer()  # before anybody learns of the end: the next batch reuses the thread
            on_ended(error)

        self.batch.start(conclude)

    def track(self) -> None:
        """Count the handlers that still run."""
        if not self.batch.has_ended:
            self._environment.track(self.batch)


def run_batch(
    runtime: Runtime[ExecutionEnvironment],
    create_batch: Callable[[ExecutionEnvironment], Batch],
    deadline: Deadline,
    on_ended: Callable[[Batch], object] | None = None,
    *,
    on_loop: bool = True,
) -> Batch:
    """Run a batch, and return it once it has ended or ``deadline.responds_without_loop_at`` is reached.

    Args:
        runtime: The event loop.
        create_batch: Creates the batch.
        deadline: The deadline of the invocation.
        on_ended: Called when the batch has ended, inside the time limit: never on the invocation's thread.
        on_loop: Whether the batch is created and started on the event loop; otherwise on the invocation's thread,
            where no code of the user's may run.

    Raises:
        TimeoutError: If the batch could not start in time. No handler has run.
        SystemExit: If too many abandoned handlers or blocked event loops still run in this execution environment.
    """
    started: list[_Conducted] = []

    def create(environment: ExecutionEnvironment) -> _Conducted:
        started.append(_Conducted(create_batch(environment), environment, on_ended))
        return started[0]

    try:
        runtime.run_work(create, deadline, on_loop=on_loop, supervise_after=FIRST_LOOK_SECONDS)
    except TimeoutError as error:
        if not started:
            raise
        if not started[0].has_ended:
            message = f"{error}; the batch response contains every message not known to be done"
            run_in_time(functools.partial(logger.error, message), deadline)
    finally:
        for conducted in started:
            conducted.track()
    return started[0].batch


def run_and_respond(
    runtime: Runtime[ExecutionEnvironment],
    create_batch: Callable[[ExecutionEnvironment], Batch],
    deadline: Deadline,
    *,
    on_loop: bool,
    raise_on_total_failure: bool,
) -> BatchResult:
    """Run a batch as ``run_batch`` does, and return its outcomes and the response to Lambda.

    The outcomes are final before anything is logged and before an observer is notified. Both happen on the event loop:
    if a log handler or an observer hangs, the response is returned without waiting for it.

    Raises:
        KeyboardInterrupt: If a handler raised it, unless Lambda would not replace this process.
        TotalFailureError: If no record was acknowledged and ``raise_on_total_failure`` is set.
        TimeoutError: If the batch could not start in time. No handler has run.
        SystemExit: If too many abandoned handlers or blocked event loops still run in this execution environment.
    """
    results: list[BatchResult] = []

    def conclude(batch: Batch) -> None:
        result = _result_of(batch)
        results.append(result)
        if results[0] is result:  # pragma: no branch - else, at this moment, the response is returned without the loop
            _report(batch, result)

    batch = run_batch(runtime, create_batch, deadline, conclude, on_loop=on_loop)
    if not results and not _interrupts(batch):
        result = _result_of(batch)
        results.append(result)
        if results[0] is result:  # pragma: no branch - as above
            run_in_time(lambda: _report(batch, result), deadline)
    return _checked(batch, results, raise_on_total_failure=raise_on_total_failure)


def not_started(records: Sequence[Record], reason: str, *, raise_on_total_failure: bool) -> BatchResult:
    """Return the result of a batch of which nothing was started.

    Raises:
        TotalFailureError: If ``raise_on_total_failure`` is set and there are records.
    """
    logger.warning("batch of %d: no record was started: %s", len(records), reason)
    outcomes: list[Outcome] = [NotStarted(reason)] * len(records)
    return _checked_result(
        BatchResult(records, outcomes, partial_response(records, outcomes)),
        raise_on_total_failure=raise_on_total_failure,
    )


def respond(batch: Batch, *, raise_on_total_failure: bool) -> BatchResult:
    """Return the outcomes of a batch that ran on the caller's event loop, and close the batch.

    Raises:
        KeyboardInterrupt: If a handler raised it, unless Lambda would not replace this process.
        TotalFailureError: If no record was acknowledged and ``raise_on_total_failure`` is set.
    """
    results = [] if _interrupts(batch) else [_result_of(batch)]
    for result in results:
        _report(batch, result)
    return _checked(batch, results, raise_on_total_failure=raise_on_total_failure)


def _interrupts(batch: Batch) -> bool:
    """Return whether the KeyboardInterrupt of a handler ends the process.

    It does not if Lambda would not replace the process: then its record fails, and the batch gets a response.
    """
    return batch.stored.interrupt is not None and concurrent_processes() == 1


def _result_of(batch: Batch) -> BatchResult:
    outcomes = batch.outcomes()
    return BatchResult(batch.records, outcomes, partial_response(batch.records, outcomes))


def _checked(batch: Batch, results: Sequence[BatchResult], *, raise_on_total_failure: bool) -> BatchResult:
    if batch.stored.interrupt is not None and _interrupts(batch):
        raise batch.stored.interrupt
    # An error would not help while a service is down: the messages are held.
    return _checked_result(results[0], raise_on_total_failure=raise_on_total_failure and not batch.stored.are_held_back)


def _checked_result(result: BatchResult, *, raise_on_total_failure: bool) -> BatchResult:
    if raise_on_total_failure and result.outcomes and not any(map(acknowledges, result.outcomes)):
        raise TotalFailureError(f"none of the {len(result.outcomes)} records of the batch succeeded")
    return result


def _report(batch: Batch, result: BatchResult) -> None:
    if not _interrupts(batch):
        _log(batch, result.outcomes)
        if batch.observation is not None:
            batch.observation.end(result, batch.limit, () if batch.held is None else batch.held.activity())


def _log(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    records = len(outcomes)
    acknowledged = records if are_all_done(outcomes) else sum(map(acknowledges, outcomes))
    if batch.stored.failures is not None:
        batch.stored.failures.write()
    logger.info("batch of %d: %d acknowledged, %d to be redelivered", records, acknowledged, records - acknowledged)
    if batch.limit != batch.limit_at_start:
        logger.info("the concurrency limit adjusted itself from %d to %d", batch.limit_at_start, batch.limit)
    if batch.abandoned:
        logger.warning("%d handlers were still running when the batch response was returned", batch.abandoned)
    if batch.stored.has_rejected:
        _log_rejected(batch, outcomes)
    if batch.held_for_memory:
        logger.warning("memory was full: starts of records waited for it %d times in this batch", batch.held_for_memory)
    if acknowledged < records:
        _warn_of_last_receives(batch.records, outcomes)


def _log_rejected(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    """Log, in a line each, the rejected messages that are in the dead-letter queue, and those that are not."""
    rejected = [
        (record, outcome)
        for record, outcome in zip(batch.records, outcomes, strict=True)
        if outcome is not DONE and isinstance(outcome, Rejected)
    ]
    elsewhere = "but the dead-letter queue did not accept them, so they will be redelivered"
    if not batch.stored.has_dead_letter_queue:
        elsewhere = "but no dead-letter queue is configured, so they will be redelivered"
    for forwarded, where in ((True, "and sent to the dead-letter queue"), (False, elsewhere)):
        if chosen := [(record, outcome) for record, outcome in rejected if outcome.forwarded is forwarded]:
            record, outcome = chosen[0]
            logger.warning(
                "%d messages were rejected %s; first: %s (%s)",
                len(chosen),
                where,
                record.message_id,
                " ".join(outcome.reason[:_MAX_REASON_CHARACTERS].split()),  # one line
            )


def _warn_of_last_receives(records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
    """Warn about messages that were not started in their last receive: the queue will move them to its DLQ."""
    from fanfold._base.dead_letter import configured_max_receives  # not imported at cold start

    if (max_receives := configured_max_receives()) is None:
        return
    not_started = [
        record.message_id
        for record, outcome in zip(records, outcomes, strict=True)
        if isinstance(outcome, NotStarted) and record.receive_count >= max_receives
    ]
    if not_started:
        logger.warning(
            "%d messages were not started in receive %d, their last: "
            "SQS will move them to the dead-letter queue; first: %s",
            len(not_started),
            max_receives,
            not_started[0],
        )
