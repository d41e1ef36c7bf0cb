"""The rules about queues that mappings read, and about their dead-letter queues."""

from __future__ import annotations

from collections.abc import Iterator

from fanfold._base.aws_limits import (
    MAPPING_RECOMMENDED_RECEIVES,
    MAPPING_RECOMMENDED_TIMEOUTS,
    SQS_MAX_RETENTION_SECONDS,
    SQS_MAX_VISIBILITY_SECONDS,
)
from fanfold.check.values import Hit, Model, NotKnown, Queue
from fanfold.check.wording import amount, consumed, describe, function_of, not_known, synchronous, timeout_of


def visibility_below_timeout(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues whose visibility timeout is shorter than the function's timeout."""
    for mapping in synchronous(model):
        queue, timeout = model.queues[mapping.queue], timeout_of(model, mapping)
        if unknown := not_known(queue.visibility, timeout):
            yield from unknown
        elif (queue.visibility.value or 0) < (timeout.value or 0):
            actual = (
                f"{describe(queue.visibility, 's')}, below the {describe(timeout, 's')} of {mapping.function_name}: "
                "messages are redelivered while their first invocation still runs"
            )
            yield Hit(queue.key, queue.visibility.place, actual, _advice(timeout.value or 0, mapping.window.value or 0))


def visibility_below_advice(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues whose visibility timeout leaves Lambda too little time to retry throttled batches."""
    for mapping in synchronous(model):
        visibility, timeout, window = model.queues[mapping.queue].visibility, timeout_of(model, mapping), mapping.window
        if unknown := not_known(visibility, timeout, window):
            yield from unknown
        elif (timeout.value or 0) <= (visibility.value or 0) < _advised(timeout.value or 0, window.value or 0):
            actual = (
                f"{describe(visibility, 's')}, with {describe(timeout, 's')} of {mapping.function_name} and "
                f"{describe(window, 's')}: messages of throttled batches can be redelivered before they were tried"
            )
            yield Hit(mapping.queue, visibility.place, actual, _advice(timeout.value or 0, window.value or 0))


def _advised(timeout: float, window: float) -> float:
    return min(MAPPING_RECOMMENDED_TIMEOUTS * timeout + window, SQS_MAX_VISIBILITY_SECONDS)


def _advice(timeout: float, window: float) -> str:
    wait = f" + {amount(window)} s window" if window else ""
    return (
        f"at least {amount(_advised(timeout, window))} s ({MAPPING_RECOMMENDED_TIMEOUTS} x {amount(timeout)} s{wait})"
    )


def no_dead_letter_queue(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues without a dead-letter queue."""
    for queue in consumed(model):
        if not queue.dead_letter_queue.known:
            yield from not_known(queue.dead_letter_queue)
        elif not queue.dead_letter_queue.value and not queue.receives_dead_letters:
            actual = "no RedrivePolicy: a message that always fails is redelivered until it expires, and is then lost"
            if own := next((name for name, key in _own_dead_letter_queues(model) if key == queue.key), ""):
                actual += f". The dead-letter queue of {own} is only for asynchronous invocations"
            yield Hit(queue.key, queue.dead_letter_queue.place, actual, "a RedrivePolicy with a dead-letter queue")


def too_few_receives(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues that dead-letter messages after too few receives."""
    for queue in consumed(model):
        yield from not_known(queue.receives)
        if queue.receives.value is not None and queue.receives.value < MAPPING_RECOMMENDED_RECEIVES:
            yield Hit(
                queue.key,
                queue.receives.place,
                f"{describe(queue.receives)}: throttled deliveries alone can dead-letter a healthy message",
                f"at least {MAPPING_RECOMMENDED_RECEIVES}",
            )


def dead_letters_expire(model: Model) -> Iterator[Hit | NotKnown]:
    """Find dead-letter queues that do not keep messages longer than their source queue does."""
    for queue, target in _with_dead_letter_queue(model):
        if queue.fifo.value:  # in a FIFO dead-letter queue, the retention period starts again
            continue
        if unknown := not_known(queue.fifo, queue.retention, target.retention):
            yield from unknown
        elif (target.retention.value or 0) <= (queue.retention.value or 0):
            longest = (queue.retention.value or 0) >= SQS_MAX_RETENTION_SECONDS
            recommended = f"longer than in {queue.key}, such as {SQS_MAX_RETENTION_SECONDS:,} s (14 days)"
            yield Hit(
                target.key,
                target.retention.place,
                f"{describe(target.retention, 's')}, and its source queue {queue.key} has "
                f"{describe(queue.retention, 's')}: a dead-lettered message can expire before anyone sees it",
                f"less than 14 days in {queue.key}, and 14 days here" if longest else recommended,
            )


def dead_letter_type_differs(model: Model) -> Iterator[Hit | NotKnown]:
    """Find dead-letter queues whose type, FIFO or standard, differs from the source queue's."""
    for queue, target in _with_dead_letter_queue(model):
        if unknown := not_known(queue.fifo, target.fifo):
            yield from unknown
        elif queue.fifo.value is not target.fifo.value:
            kinds = {True: "FIFO", False: "standard", None: "not known"}
            actual = (
                f"{queue.key} is {kinds[queue.fifo.value]}, but its dead-letter queue {target.key} is "
                f"{kinds[target.fifo.value]}: SQS rejects the RedrivePolicy"
            )
            yield Hit(queue.key, queue.dead_letter_queue.place, actual, "two queues of the same type")


def dead_letters_return(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues that are their own dead-letter queue, or that of the function that reads them."""
    for queue in consumed(model):
        if queue.dead_letter_queue.value == queue.key:
            actual = f"{queue.key} is its own dead-letter queue: messages that always fail stay in it until they expire"
            yield Hit(queue.key, queue.dead_letter_queue.place, actual, "another queue as dead-letter queue")
    for mapping in model.mappings:
        function = function_of(model, mapping)
        if function is not None and function.dead_letter_queue.value == mapping.queue:
            place = function.dead_letter_queue.place
            actual = f"{mapping.queue} is the dead-letter queue of {function.key}, and invokes {function.key} again"
            yield Hit(function.key, place, actual, "a dead-letter queue that this function does not read")


def same_function_reads_dead_letters(model: Model) -> Iterator[Hit | NotKnown]:
    """Find dead-letter queues that the same function reads as their source queue."""
    active = [mapping for mapping in model.mappings if mapping.enabled.value and mapping.function is not None]
    readers = {(mapping.function, mapping.queue): mapping for mapping in active}
    for mapping in active:
        target = model.queues[mapping.queue].dead_letter_queue.value
        second = readers.get((mapping.function, target or ""))
        if second is not None and target != mapping.queue:
            actual = (
                f"{mapping.function} reads {mapping.queue} and its dead-letter queue {target}: the code that failed "
            )
            actual += "runs on the same message again"
            yield Hit(second.key, second.place, actual, "another function, or no mapping: redrive after the fix")


def _own_dead_letter_queues(model: Model) -> Iterator[tuple[str, str]]:
    """Yield each function with a dead-letter queue for asynchronous invocations, and each queue that it reads."""
    for mapping in model.mappings:
        function = function_of(model, mapping)
        if function is not None and function.dead_letter_queue.stated:
            yield function.key, mapping.queue


def _with_dead_letter_queue(model: Model) -> Iterator[tuple[Queue, Queue]]:
    """Yield every queue of the template that has another queue as dead-letter queue, with that queue."""
    for queue in model.queues.values():
        target = queue.dead_letter_queue.value
        if target is not None and target != queue.key and target in model.queues:
            yield queue, model.queues[target]
