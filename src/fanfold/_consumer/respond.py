"""A batch run on the event loop until its response is due; then the log lines, the observers and the response."""

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
    runtime: Runtime[ExecutionEnvironment], begin: Callable[[ExecutionEnvironment], Batch], deadline: Deadline
) -> Batch:
    """Run a batch, and return it when it has ended or the deadline gives up: with what is known of it by then.

    Args:
        runtime: The event loop.
        begin: Makes the batch, on the loop.
        deadline: The invocation's.

    Raises:
        TimeoutError: If the batch could not begin in time; nothing of it has run.
        SystemExit: If so much that was abandoned still runs here that a fresh execution environment is better.
    """
    begun: list[Batch] = []

    async def work(environment: ExecutionEnvironment) -> None:
        batch = begin(environment)
        environment.track(batch)
        begun.append(batch)
        await batch.run()

    try:
        runtime.run(work, deadline)
    except TimeoutError as error:
        if not begun:
            raise
        logger.error("%s; the answer is made from what is known by now", error)  # noqa: TRY400 - no traceback
    return begun[0]


def respond(batch: Batch, *, raise_on_total_failure: bool) -> BatchResult:
    """Return how the records of a batch ended, and the response to Lambda; closes the batch.

    Raises:
        KeyboardInterrupt: If a handler raised one.
        TotalFailureError: If nothing was acknowledged and that is asked for.
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
    logger.info("batch of %d: %d acknowledged, %d come back", records, acknowledged, records - acknowledged)
    if batch.abandoned:
        logger.warning("%d handlers were still running when the answer was given", batch.abandoned)
    if batch.held_for_memory:
        logger.warning("memory was full: starts waited for it %d times in this batch", batch.held_for_memory)
    if acknowledged < records:
        _warn_of_untried(batch.records, outcomes)


def _warn_of_untried(records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
    """Warn about what the queue is about to dead-letter without its having run in this delivery, its last."""
    from fanfold._base.dead_letter import configured_max_receives  # a cold start pays for what it uses

    if (most := configured_max_receives()) is None:
        return
    lost = [
        record.message_id
        for record, outcome in zip(records, outcomes, strict=True)
        if isinstance(outcome, NotStarted) and record.receive_count >= most
    ]
    if lost:
        logger.warning(
            "%d messages were not started at receive %d, their last: the queue dead-letters them now; first: %s",
            len(lost),
            most,
            lost[0],
        )
