"""The rules about functions that SQS event source mappings invoke."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fanfold.check.permissions import is_allowed, names_queue
from fanfold.check.values import Function, Hit, Model, NotKnown, Queue
from fanfold.check.wording import amount, describe, function_of, invoked, not_known

_POLLING: Final = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
"""The actions that Lambda requires of the role of a function with an SQS mapping (Lambda developer guide)."""
DEAD_LETTER_QUEUE: Final = "FANFOLD_DEAD_LETTER_QUEUE_URL"
FOLD_QUEUE: Final = "FANFOLD_FOLD_QUEUE_URL"
BASE_MB: Final = 66
"""Resident memory of Python with fanfold, an SDK and the largest event (benchmarks/limits.py handlers)."""
HANDLER_MB: Final = 0.31
"""Memory per handler that holds a TLS connection (benchmarks/limits.py handlers; one that only waits: 0.002)."""


def too_little_memory(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions without enough memory for ``FANFOLD_CONCURRENCY`` handlers."""
    for function in invoked(model):
        concurrency = function.concurrency
        if concurrency.known and concurrency.value is None:
            continue
        if unknown := not_known(concurrency, function.memory, function.processes):
            yield from unknown
            continue
        handlers, memory, processes = concurrency.value or 0, function.memory.value or 0, function.processes.value or 1
        least = processes * (BASE_MB + handlers * HANDLER_MB)
        if memory < least:
            per_process = f" in each of {amount(processes)} processes" if processes > 1 else ""
            yield Hit(
                function.key,
                function.memory.place,
                f"{describe(function.memory, 'MB')} for {describe(concurrency)}{per_process}: if the process runs out "
                "of memory, the whole batch is redelivered",
                f"at least {amount(round(least + 0.5))} MB if each handler holds a TLS connection, or fewer handlers",
            )


def cannot_poll(model: Model) -> Iterator[Hit | NotKnown]:
    """Find roles that are not allowed to receive and delete the messages of a queue, or to read its attributes."""
    for reader in model.readers:
        if not reader.poller:
            continue
        queue = model.queues[reader.queue]
        allowances = {action: is_allowed(reader.permissions, action, queue) for action in _POLLING}
        missing = [action for action, (allowed, _) in allowances.items() if allowed is False]
        doubts = [why for allowed, why in allowances.values() if allowed is None]
        if missing:
            actions = " and ".join(missing)
            effect = "the pipe cannot read the queue" if reader.pipe else "Lambda rejects the mapping"
            actual = f"the role of {reader.poller} is not allowed {actions} on {queue.key}: {effect}"
            yield Hit(reader.poller, reader.place, actual, f"a policy statement that allows {', '.join(_POLLING)}")
        elif doubts:
            yield NotKnown(f"whether the role of {reader.poller} may poll {queue.key}", doubts[0], reader.place)


def cannot_change_visibility(model: Model) -> Iterator[Hit | NotKnown]:
    """Find fanfold consumers that are not allowed to change the visibility timeout of a message."""
    action = "sqs:ChangeMessageVisibility"
    for function, queue in _consumers(model):
        allowed, why = is_allowed(function.permissions, action, queue)
        if allowed is None:
            yield NotKnown(f"whether {function.key} is allowed {action} on {queue.key}", why, function.place)
        elif not allowed:
            actual = (
                f"{function.key} is not allowed {action} on {queue.key}: if its code uses a backoff or Retry(after=…), "
                "failed messages are redelivered after the queue's visibility timeout instead"
            )
            yield Hit(function.key, function.place, actual, f"a policy statement that allows {action} on {queue.key}")


def cannot_send_dead_letters(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions that are not allowed to send to their ``FANFOLD_DEAD_LETTER_QUEUE_URL``."""
    action = "sqs:SendMessage"
    for function, queue in _consumers(model):
        target = function.queues.get(DEAD_LETTER_QUEUE)
        # the fold and dead-letter functions of a job leave rejected messages to the redrive policy of their queue
        if target is None or target == queue.key or function.queues.get(FOLD_QUEUE) == queue.key:
            continue
        allowed, why = is_allowed(function.permissions, action, model.queues[target])
        if allowed is None:
            yield NotKnown(f"whether {function.key} is allowed {action} on {target}", why, function.place)
        elif not allowed:
            actual = (
                f"{function.key} is not allowed {action} on {target}, its {DEAD_LETTER_QUEUE}: a rejected message is "
                "retried until its maxReceiveCount, and the reason is lost"
            )
            yield Hit(function.key, function.place, actual, f"a policy statement that allows {action} on {target}")


def recursion(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions that are allowed to send to the queue that invokes them."""
    for mapping in model.mappings:
        function, queue = function_of(model, mapping), model.queues[mapping.queue]
        if function is None or not names_queue(function.permissions, "sqs:Send", queue):
            continue
        if not function.recursive_loop.known:
            yield from not_known(function.recursive_loop)
        elif function.recursive_loop.value == "Allow":
            continue
        elif function.other_triggers:
            subject = f"whether {function.key} sends to {queue.key} when {queue.key} invokes it"
            yield NotKnown(subject, "it has other triggers too, and the check does not read code", function.place)
        else:
            yield Hit(
                function.key,
                function.recursive_loop.place,
                f"{function.key} is allowed to send to {queue.key}, which invokes it: Lambda stops such a loop after "
                "about 16 invocations",
                "no such permission, or RecursiveLoop: Allow if the loop is intended and always ends",
            )


def _consumers(model: Model) -> Iterator[tuple[Function, Queue]]:
    """Yield each function with fanfold variables in its environment, with each queue that invokes it."""
    for mapping in model.mappings:
        function = function_of(model, mapping)
        if function is not None and function.uses_fanfold:
            yield function, model.queues[mapping.queue]
