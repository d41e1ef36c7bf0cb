"""What is looked for in queues that mappings read, and in their dead-letter queues."""

from __future__ import annotations

from collections.abc import Iterator

from fanfold._base.aws_limits import (
    MAPPING_RECOMMENDED_RECEIVES,
    MAPPING_RECOMMENDED_TIMEOUTS,
    SQS_MAX_RETENTION_SECONDS,
)
from fanfold.check.values import Hit, Model, NotKnown, Queue
from fanfold.check.wording import amount, consumed, describe, not_known, timeout_of


def visibility_below_timeout(model: Model) -> Iterator[Hit | NotKnown]:
    """Messages become visible while they are still worked on."""
    for mapping in model.mappings:
        queue, timeout = model.queues[mapping.queue], timeout_of(model, mapping)
        if unknown := not_known(queue.visibility, timeout):
            yield from unknown
        elif (queue.visibility.value or 0) < (timeout.value or 0):
            found = f"{describe(queue.visibility, 's')}, below the {describe(timeout, 's')} of {mapping.function_name}"
            yield Hit(queue.key, queue.visibility.place, found, _advice(timeout.value or 0, mapping.window.value or 0))


def visibility_below_advice(model: Model) -> Iterator[Hit | NotKnown]:
    """Too little time for Lambda to try again when it throttles."""
    for mapping in model.mappings:
        visibility, timeout, window = model.queues[mapping.queue].visibility, timeout_of(model, mapping), mapping.window
        if unknown := not_known(visibility, timeout, window):
            yield from unknown
        elif (timeout.value or 0) <= (visibility.value or 0) < _advised(timeout.value or 0, window.value or 0):
            of_function = f"{describe(timeout, 's')} of {mapping.function_name}, {describe(window, 's')}"
            found = f"{describe(visibility, 's')}; {of_function}"
            yield Hit(mapping.queue, visibility.place, found, _advice(timeout.value or 0, window.value or 0))


def _advised(timeout: float, window: float) -> float:
    return MAPPING_RECOMMENDED_TIMEOUTS * timeout + window


def _advice(timeout: float, window: float) -> str:
    wait = f" + {amount(window)} s window" if window else ""
    return (
        f"at least {amount(_advised(timeout, window))} s ({MAPPING_RECOMMENDED_TIMEOUTS} x {amount(timeout)} s{wait})"
    )


def no_dead_letter_queue(model: Model) -> Iterator[Hit | NotKnown]:
    """A queue that is read has nowhere to put what always fails."""
    for queue in consumed(model):
        if not queue.dead_letter_queue.known:
            yield from not_known(queue.dead_letter_queue)
        elif not queue.dead_letter_queue.value and not queue.receives_dead_letters:
            found = "no RedrivePolicy: a message that always fails is tried until its retention is over, then deleted"
            yield Hit(queue.key, queue.dead_letter_queue.place, found, "a RedrivePolicy with a dead-letter queue")


def few_receives(model: Model) -> Iterator[Hit | NotKnown]:
    """Messages become dead letters after too few receives."""
    for queue in consumed(model):
        yield from not_known(queue.receives)
        if queue.receives.value is not None and queue.receives.value < MAPPING_RECOMMENDED_RECEIVES:
            yield Hit(
                queue.key,
                queue.receives.place,
                describe(queue.receives),
                f"at least {MAPPING_RECOMMENDED_RECEIVES}",
            )


def dead_letters_expire(model: Model) -> Iterator[Hit | NotKnown]:
    """Dead letters are deleted no later than messages of their source would have been."""
    for queue, target in _with_dead_letter_queue(model):
        if queue.fifo.value:  # there the clock starts anew in the dead-letter queue
            continue
        if unknown := not_known(queue.fifo, queue.retention, target.retention):
            yield from unknown
        elif (target.retention.value or 0) <= (queue.retention.value or 0):
            longest = (queue.retention.value or 0) >= SQS_MAX_RETENTION_SECONDS
            wanted = f"more than the source's, such as {SQS_MAX_RETENTION_SECONDS:,} s (14 days)"
            yield Hit(
                target.key,
                target.retention.place,
                f"{describe(target.retention, 's')}; its source {queue.key} has {describe(queue.retention, 's')}",
                f"below 14 days in {queue.key}, 14 days here" if longest else wanted,
            )


def dead_letter_type_differs(model: Model) -> Iterator[Hit | NotKnown]:
    """A FIFO queue with a standard dead-letter queue, or the other way round."""
    for queue, target in _with_dead_letter_queue(model):
        if unknown := not_known(queue.fifo, target.fifo):
            yield from unknown
        elif queue.fifo.value is not target.fifo.value:
            kinds = {True: "FIFO", False: "standard", None: "not known"}
            found = f"{queue.key} is {kinds[queue.fifo.value]}, its dead-letter queue {kinds[target.fifo.value]}"
            yield Hit(queue.key, queue.dead_letter_queue.place, found, "two queues of one type")


def _with_dead_letter_queue(model: Model) -> Iterator[tuple[Queue, Queue]]:
    """Yield every queue of the template that has a dead-letter queue, and that queue."""
    for queue in model.queues.values():
        target = queue.dead_letter_queue.value
        if target is not None and target in model.queues:
            yield queue, model.queues[target]
