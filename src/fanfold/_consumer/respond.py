"""Run a batch on the event loop until its response is due, then log, notify the observers, and respond."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fanfold._base.deadline import Deadline
from fanfold._base.outcome import DONE, BatchResult, NotStarted, Outcome, acknowledges, partial_response
from fanfold._base.record import Record
from fanfold._consumer.batch import Batch
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.loop_thread import Runtime
from fanfold.errors import TotalFailureError

logger = logging.getLogger("fanfold")


def run_batch(
    runtime: Runtime[ExecutionEnvironment], create_batch: Callable[[ExecutionEnvironment], Batch], deadline: Deadline
) -> Batch:
    """Run a batch, and return it once it has ended or ``deadline.responds_without_loop_at`` is reached.

    Args:
        runtime: The event loop.
        create_batch: Creates the batch, on the event loop.
        deadline: The deadline of the invocation.

    Raises:
        TimeoutError: If the batch could not start in time. No handler has run.
        SystemExit: If too many abandoned handlers or blocked event loops still run in this execution environment.
    """
    started: list[Batch] = []

    async def work(environment: ExecutionEnvironment) -> None:
        batch = create_batch(environment)
        environment.track(batch)
        started.append(batch)
        await batch.run()

    try:
        runtime.run(work, deadline)
    except TimeoutError as error:
        if not started:
            raise
        logger.error("%s; the batch response contains every message not known to be done", error)  # noqa: TRY400 - no traceback
    return started[0]


def respond(batch: Batch, *, raise_on_total_failure: bool) -> BatchResult:
    """Return the outcomes of a batch and the response to Lambda, and close the batch.

    Raises:
        KeyboardInterrupt: If a handler raised it.
        TotalFailureError: If no record was acknowledged and ``raise_on_total_failure`` is set.
    """
    if batch.interrupt is not None:
        raise batch.interrupt
    outcomes = batch.outcomes()
    acknowledged = sum(outcome is DONE or acknowledges(outcome) for outcome in outcomes)
    _log(batch, outcomes, acknowledged)
    result = BatchResult(batch.records, outcomes, partial_response(batch.records, outcomes))
    if batch.observation is not None:
        batch.observation.end(result)
    if raise_on_total_failure and outcomes and not acknowledged:
        raise TotalFailureError(f"none of the {len(outcomes)} records of the batch succeeded")
    return result


def _log(batch: Batch, outcomes: Sequence[Outcome], acknowledged: int) -> None:
    batch.failures.write(logger)
    records = len(outcomes)
    logger.info("batch of %d: %d acknowledged, %d to be redelivered", records, acknowledged, records - acknowledged)
    if batch.abandoned:
        logger.warning("%d handlers were still running when the batch response was returned", batch.abandoned)
    if batch.held_for_memory:
        logger.warning("memory was full: starts of records waited for it %d times in this batch", batch.held_for_memory)
    if acknowledged < records:
        _warn_of_last_receives(batch.records, outcomes)


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
