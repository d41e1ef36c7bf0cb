"""What is looked for in event source mappings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fanfold._base.aws_limits import (
    LAMBDA_EVENT_BYTES,
    MAPPING_MAX_CONCURRENCY,
    MAPPING_MAX_FIFO_BATCH_SIZE,
    MAPPING_MAX_UNWINDOWED_BATCH,
    MAPPING_MIN_CONCURRENCY,
)
from fanfold.check.values import EventMapping, Hit, Model, NotKnown
from fanfold.check.wording import amount, describe, function_of, not_known

REPORT: Final = "ReportBatchItemFailures"


def failures_not_reported(model: Model) -> Iterator[Hit | NotKnown]:
    """A mapping does not read which messages failed."""
    for mapping in model.mappings:
        yield from _report(model, mapping, alone=False)


def batch_of_one_not_reported(model: Model) -> Iterator[Hit | NotKnown]:
    """A mapping of single messages does not read whether they failed, and the handler may be any."""
    for mapping in model.mappings:
        yield from _report(model, mapping, alone=True)


def _report(model: Model, mapping: EventMapping, *, alone: bool) -> Iterator[Hit | NotKnown]:
    function = function_of(model, mapping)
    speaks = function is not None and function.uses_fanfold
    one_by_one = mapping.batch_size.value == 1 and not speaks
    if not mapping.response_types.known:
        if alone is one_by_one:
            yield from not_known(mapping.response_types)
    elif REPORT not in (mapping.response_types.value or ()) and alone is one_by_one:
        stated = ", ".join(mapping.response_types.value or ()) or "not set"
        answer = "an answer that names failed messages is ignored and all are deleted"
        yield Hit(mapping.key, mapping.response_types.place, f"FunctionResponseTypes {stated}: {answer}", f"[{REPORT}]")


def batch_without_window(model: Model) -> Iterator[Hit | NotKnown]:
    """A batch of more than ten without a window."""
    for mapping in model.mappings:
        size, window, fifo = mapping.batch_size, mapping.window, model.queues[mapping.queue].fifo
        if (size.known and (size.value or 0) <= MAPPING_MAX_UNWINDOWED_BATCH) or fifo.value:
            continue
        if unknown := not_known(size, window):
            yield from unknown
        elif (window.value or 0) < 1:
            yield Hit(
                mapping.key,
                window.place,
                f"{describe(size)} with {describe(window, 's')}",
                "a window of 1 to 300 s",
            )


def fifo_batch_too_large(model: Model) -> Iterator[Hit | NotKnown]:
    """A FIFO queue with a window, or with a batch of more than ten."""
    for mapping in model.mappings:
        size, window, fifo = mapping.batch_size, mapping.window, model.queues[mapping.queue].fifo
        plain = size.known and window.known and (size.value or 0) <= MAPPING_MAX_FIFO_BATCH_SIZE and not window.value
        if plain or (fifo.known and not fifo.value):
            continue
        if not fifo.known:
            yield from not_known(fifo)
            continue
        yield from not_known(size, window)
        if (size.value or 0) > MAPPING_MAX_FIFO_BATCH_SIZE:
            yield Hit(
                mapping.key,
                size.place,
                f"{describe(size)} on a FIFO queue",
                f"at most {MAPPING_MAX_FIFO_BATCH_SIZE}",
            )
        if window.value:
            yield Hit(mapping.key, window.place, f"{describe(window, 's')} on a FIFO queue", "no window")


def concurrency_out_of_range(model: Model) -> Iterator[Hit | NotKnown]:
    """A maximum concurrency that Lambda does not take."""
    for mapping in model.mappings:
        most = mapping.maximum_concurrency
        yield from not_known(most)
        if most.value is not None and not MAPPING_MIN_CONCURRENCY <= most.value <= MAPPING_MAX_CONCURRENCY:
            wanted = f"{MAPPING_MIN_CONCURRENCY} to {MAPPING_MAX_CONCURRENCY:,}"
            yield Hit(mapping.key, most.place, describe(most), wanted)


def concurrency_above_reserved(model: Model) -> Iterator[Hit | NotKnown]:
    """More batches at once than the function may run."""
    for function in model.functions.values():
        mine = [mapping for mapping in model.mappings if mapping.function == function.key and mapping.enabled.value]
        bound = [
            mapping for mapping in mine if mapping.maximum_concurrency.unknown or mapping.maximum_concurrency.value
        ]
        if not bound or (function.reserved.known and not function.reserved.value):
            continue
        if unknown := not_known(function.reserved, *(mapping.maximum_concurrency for mapping in bound)):
            yield from unknown
            continue
        asked, reserved = sum(mapping.maximum_concurrency.value or 0 for mapping in bound), function.reserved.value or 0
        if asked > reserved:
            names = " and ".join(mapping.key for mapping in bound)
            yield Hit(
                bound[0].key,
                bound[0].maximum_concurrency.place,
                f"MaximumConcurrency {amount(asked)} ({names}), but ReservedConcurrentExecutions of {function.key} "
                f"is {amount(reserved)}",
                f"at most {amount(reserved)} in all, or more reserved",
            )


def concurrency_and_pollers(model: Model) -> Iterator[Hit | NotKnown]:
    """Maximum concurrency and provisioned mode together."""
    for mapping in model.mappings:
        most, provisioned = mapping.maximum_concurrency, mapping.provisioned
        if (most.known and most.value is None) or (provisioned.known and not provisioned.value):
            continue
        if unknown := not_known(most, provisioned):
            yield from unknown
        else:
            found = f"{describe(most)} and ProvisionedPollerConfig"
            yield Hit(mapping.key, most.place, found, "one of the two; MaximumPollers bounds provisioned mode")


def two_mappings(model: Model) -> Iterator[Hit | NotKnown]:
    """Two mappings that read one queue."""
    for key in dict.fromkeys(mapping.queue for mapping in model.mappings):
        readers = [mapping for mapping in model.mappings if mapping.queue == key and mapping.enabled.value is not False]
        sure = [mapping for mapping in readers if mapping.enabled.known and mapping.exists.known]
        if len(sure) < 2:  # noqa: PLR2004 - two readers are one too many
            for mapping in readers if len(readers) > 1 else ():
                yield from not_known(mapping.enabled, mapping.exists)
            continue
        names = " and ".join(mapping.key for mapping in sure)
        filtered = any(mapping.filtered.value for mapping in sure)
        effect = "what one filters out is deleted" if filtered else "each message reaches only one of them"
        yield Hit(
            sure[1].key,
            sure[1].place,
            f"{names} read the queue {key}: {effect}",
            "one mapping on a queue; a queue for each reader, behind an SNS topic",
        )


def largest_batch_too_large(model: Model) -> Iterator[Hit | NotKnown]:
    """The batch size and the largest message, as stated, do not fit together."""
    for mapping in model.mappings:
        size, message = mapping.batch_size, model.queues[mapping.queue].message_bytes
        if not size.stated or not message.stated or not size.value or not message.value:
            continue
        if size.value * message.value > LAMBDA_EVENT_BYTES:
            fit = int(LAMBDA_EVENT_BYTES / message.value)
            yield Hit(
                mapping.key,
                size.place,
                f"{describe(size)} x {describe(message, 'bytes')} is {amount(size.value * message.value)} bytes: "
                f"a batch ends early, with {amount(fit)} of the largest messages",
                f"at most {amount(LAMBDA_EVENT_BYTES)} bytes together",
            )
