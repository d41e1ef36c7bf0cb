"""What is looked for in functions that mappings call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fanfold.check.permissions import may, names_queue
from fanfold.check.values import Function, Hit, Model, NotKnown, Queue
from fanfold.check.wording import amount, describe, function_of, not_known

DEAD_LETTER_QUEUE: Final = "FANFOLD_DEAD_LETTER_QUEUE_URL"
FOLD_QUEUE: Final = "FANFOLD_FOLD_QUEUE_URL"
BASE_MB: Final = 66
"""Resident memory of Python with fanfold, an SDK and the largest event (benchmarks/limits.py handlers)."""
HANDLER_MB: Final = 0.31
"""What each handler adds that holds a TLS connection (benchmarks/limits.py handlers; one that only waits, 0.002)."""


def little_memory(model: Model) -> Iterator[Hit | NotKnown]:
    """The memory does not suffice for so many handlers at once."""
    for function in _called(model):
        concurrency = function.concurrency
        if concurrency.known and concurrency.value is None:
            continue
        if unknown := not_known(concurrency, function.memory):
            yield from unknown
            continue
        handlers, memory = concurrency.value or 0, function.memory.value or 0
        least = BASE_MB + handlers * HANDLER_MB
        if memory < least:
            yield Hit(
                function.key,
                function.memory.place,
                f"{describe(function.memory, 'MB')} for {describe(concurrency)}",
                f"at least {amount(round(least + 0.5))} MB, if each holds a TLS connection, or fewer at once",
            )


def cannot_hide(model: Model) -> Iterator[Hit | NotKnown]:
    """A function of fanfold's is not allowed to change how long a message stays hidden."""
    action = "sqs:ChangeMessageVisibility"
    for function, queue in _consumers(model):
        allowed, why = may(function.permissions, action, queue)
        if allowed is None:
            yield NotKnown(f"whether {function.key} may {action} on {queue.key}", why, function.place)
        elif not allowed:
            found = (
                f"{function.key} is not allowed {action} on {queue.key}: a backoff or Retry(after=…) has no effect "
                "(whether the code has one cannot be seen here)"
            )
            yield Hit(function.key, function.place, found, f"a statement that allows {action}")


def cannot_send_dead_letters(model: Model) -> Iterator[Hit | NotKnown]:
    """A function is told of a dead-letter queue that it is not allowed to send to."""
    action = "sqs:SendMessage"
    for function, queue in _consumers(model):
        target = function.queues.get(DEAD_LETTER_QUEUE)
        # a job's fold and dead-letter functions leave what they reject to their queue's own redrive policy
        if target is None or target == queue.key or function.queues.get(FOLD_QUEUE) == queue.key:
            continue
        allowed, why = may(function.permissions, action, model.queues[target])
        if allowed is None:
            yield NotKnown(f"whether {function.key} may {action} to {target}", why, function.place)
        elif not allowed:
            found = f"{function.key} is told {DEAD_LETTER_QUEUE} {target}, and is not allowed {action} there"
            yield Hit(function.key, function.place, found, f"a statement that allows {action}")


def recursion(model: Model) -> Iterator[Hit | NotKnown]:
    """A function may send to the queue that calls it."""
    for mapping in model.mappings:
        function, queue = function_of(model, mapping), model.queues[mapping.queue]
        if function is None or not names_queue(function.permissions, "sqs:Send", queue):
            continue
        if not function.recursive_loop.known:
            yield from not_known(function.recursive_loop)
        elif function.recursive_loop.value == "Allow":
            continue
        elif function.other_triggers:
            subject = f"whether {function.key} sends to {queue.key} when {queue.key} has called it"
            yield NotKnown(subject, "something else calls it too, and the code is not looked at", function.place)
        else:
            yield Hit(
                function.key,
                function.recursive_loop.place,
                f"{function.key} may send to {queue.key}, which calls it: Lambda stops a chain after about 16 turns",
                "no such permission, or RecursiveLoop: Allow if the chain is meant and bounded",
            )


def _called(model: Model) -> Iterator[Function]:
    """Yield each function that a mapping calls, once."""
    for key in dict.fromkeys(mapping.function for mapping in model.mappings):
        if key is not None:
            yield model.functions[key]


def _consumers(model: Model) -> Iterator[tuple[Function, Queue]]:
    """Yield each function whose environment speaks to fanfold, with each queue that calls it."""
    for mapping in model.mappings:
        function = function_of(model, mapping)
        if function is not None and function.uses_fanfold:
            yield function, model.queues[mapping.queue]
