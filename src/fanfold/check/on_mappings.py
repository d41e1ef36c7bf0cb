"""The rules about event source mappings."""

from __future__ import annotations

import re
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
from fanfold.check.wording import amount, describe, function_of, not_known, refusal

REPORT: Final = "ReportBatchItemFailures"


def failures_not_reported(model: Model) -> Iterator[Hit | NotKnown]:
    """Find mappings that do not read which messages failed."""
    for mapping in model.mappings:
        yield from _unreported(model, mapping, uncertain=False)
    for pipe in model.pipes:
        yield from not_known(pipe.asynchronous)
        if pipe.asynchronous.value:
            actual = (
                "InvocationType FIRE_AND_FORGET: EventBridge deletes the batch before the function has processed it"
            )
            yield Hit(pipe.key, pipe.asynchronous.place, actual, "REQUEST_RESPONSE")


def batch_of_one_not_reported(model: Model) -> Iterator[Hit | NotKnown]:
    """Find mappings with a batch size of 1 that do not read failures, where the handler may raise instead."""
    for mapping in model.mappings:
        yield from _unreported(model, mapping, uncertain=True)


def _unreported(model: Model, mapping: EventMapping, *, uncertain: bool) -> Iterator[Hit | NotKnown]:
    function = function_of(model, mapping)
    uses_fanfold = function is not None and function.uses_fanfold
    handler_may_raise = mapping.batch_size.value == 1 and not uses_fanfold
    if handler_may_raise is not uncertain:
        return
    if not mapping.response_types.known:
        yield from not_known(mapping.response_types)
    elif REPORT not in (mapping.response_types.value or ()):
        value = ", ".join(mapping.response_types.value or ()) or "not set"
        effect = "Lambda ignores reported failures, and deletes the whole batch"
        yield Hit(mapping.key, mapping.response_types.place, f"FunctionResponseTypes {value}: {effect}", f"[{REPORT}]")


def batch_without_window(model: Model) -> Iterator[Hit | NotKnown]:
    """Find batch sizes above 10 without a batching window."""
    for mapping in model.readers:
        size, window, fifo = mapping.batch_size, mapping.window, model.queues[mapping.queue].fifo
        if (size.known and (size.value or 0) <= MAPPING_MAX_UNWINDOWED_BATCH) or fifo.value:
            continue
        if unknown := not_known(size, window):
            yield from unknown
        elif (window.value or 0) < 1:
            yield Hit(
                mapping.key,
                window.place,
                f"{describe(size)} with {describe(window, 's')}: {refusal(mapping)}",
                "a MaximumBatchingWindowInSeconds of 1 to 300 s, or a BatchSize of at most 10",
            )


def fifo_batch_too_large(model: Model) -> Iterator[Hit | NotKnown]:
    """Find FIFO queues with a batching window or a batch size above 10."""
    for mapping in model.readers:
        size, window, fifo = mapping.batch_size, mapping.window, model.queues[mapping.queue].fifo
        fits_fifo = (
            size.known and (size.value or 0) <= MAPPING_MAX_FIFO_BATCH_SIZE and window.known and not window.value
        )
        if fits_fifo or (fifo.known and not fifo.value):
            continue
        if not fifo.known:
            yield from not_known(fifo)
            continue
        yield from not_known(size, window)
        if (size.value or 0) > MAPPING_MAX_FIFO_BATCH_SIZE:
            yield Hit(
                mapping.key,
                size.place,
                f"{describe(size)} on a FIFO queue: {refusal(mapping)}",
                f"at most {MAPPING_MAX_FIFO_BATCH_SIZE}",
            )
        if window.value:
            actual = f"{describe(window, 's')} on a FIFO queue: {refusal(mapping)}"
            yield Hit(mapping.key, window.place, actual, "no MaximumBatchingWindowInSeconds")


def concurrency_out_of_range(model: Model) -> Iterator[Hit | NotKnown]:
    """Find maximum concurrencies that Lambda rejects."""
    for mapping in model.mappings:
        maximum = mapping.maximum_concurrency
        yield from not_known(maximum)
        if maximum.value is not None and not MAPPING_MIN_CONCURRENCY <= maximum.value <= MAPPING_MAX_CONCURRENCY:
            actual = f"{describe(maximum)}: Lambda rejects the mapping"
            yield Hit(mapping.key, maximum.place, actual, f"{MAPPING_MIN_CONCURRENCY} to {MAPPING_MAX_CONCURRENCY:,}")


def concurrency_above_reserved(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions whose mappings allow more concurrent invocations than the reserved concurrency."""
    for function in model.functions.values():
        limited = [
            mapping
            for mapping in model.mappings
            if mapping.function == function.key
            and mapping.enabled.value
            and (mapping.maximum_concurrency.unknown or mapping.maximum_concurrency.value)
        ]
        if not limited or (function.reserved.known and not function.reserved.value):
            continue
        if unknown := not_known(function.reserved, *(mapping.maximum_concurrency for mapping in limited)):
            yield from unknown
            continue
        maximum = sum(mapping.maximum_concurrency.value or 0 for mapping in limited)
        reserved = function.reserved.value or 0
        if maximum > reserved:
            names = " and ".join(mapping.key for mapping in limited)
            yield Hit(
                limited[0].key,
                limited[0].maximum_concurrency.place,
                f"MaximumConcurrency {amount(maximum)} ({names}), but ReservedConcurrentExecutions of {function.key} "
                f"is {amount(reserved)}: Lambda throttles the excess, and each throttled delivery counts as a receive",
                f"at most {amount(reserved)} in total, or a higher ReservedConcurrentExecutions",
            )


def concurrency_and_pollers(model: Model) -> Iterator[Hit | NotKnown]:
    """Find mappings with both a maximum concurrency and provisioned mode."""
    for mapping in model.mappings:
        maximum, provisioned = mapping.maximum_concurrency, mapping.provisioned
        if (maximum.known and maximum.value is None) or (provisioned.known and not provisioned.value):
            continue
        if unknown := not_known(maximum, provisioned):
            yield from unknown
        else:
            actual = f"{describe(maximum)} and ProvisionedPollerConfig: Lambda rejects the mapping"
            yield Hit(mapping.key, maximum.place, actual, "only one of them; in provisioned mode, set MaximumPollers")


def two_mappings(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues that two mappings or pipes read."""
    for key in dict.fromkeys(mapping.queue for mapping in model.readers):
        readers = [mapping for mapping in model.readers if mapping.queue == key and mapping.enabled.value is not False]
        certain = [mapping for mapping in readers if mapping.enabled.known and mapping.exists.known]
        if len(certain) < 2:  # noqa: PLR2004 - one reader is allowed
            for mapping in readers if len(readers) > 1 else ():
                yield from not_known(mapping.enabled, mapping.exists)
            continue
        names = " and ".join(mapping.key for mapping in certain)
        filtered = any(mapping.filtered.value for mapping in certain)
        effect = "each message reaches only one of them"
        if filtered:
            effect += ", and is deleted if that one filters it out"
        yield Hit(
            certain[1].key,
            certain[1].place,
            f"{names} read the same queue, {key}: {effect}",
            "one mapping per queue; for several readers, an SNS topic with one queue per reader",
        )


def largest_batch_too_large(model: Model) -> Iterator[Hit | NotKnown]:
    """Find mappings whose batch size times maximum message size exceeds the event size limit; both must be set."""
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
                f"a batch holds only {amount(fit)} messages of that size",
                f"at most {amount(LAMBDA_EVENT_BYTES)} bytes in total",
            )


def disabled(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues whose mappings and pipes are all disabled."""
    for key in dict.fromkeys(reader.queue for reader in model.readers):
        readers = [reader for reader in model.readers if reader.queue == key]
        if any(reader.enabled.value for reader in readers):
            continue
        if unknown := not_known(*(reader.enabled for reader in readers)):
            yield from unknown
            continue
        first = readers[0]
        setting = "DesiredState STOPPED" if first.pipe else "Enabled false"
        actual = f"{setting}: nothing in this template reads {key}, whose messages expire after its retention period"
        yield Hit(
            first.key, first.enabled.place, actual, "Enabled: true, or a retention period that outlasts the pause"
        )


def stream_settings(model: Model) -> Iterator[Hit | NotKnown]:
    """Find properties of mappings that are only for streams and message brokers."""
    for mapping in model.mappings:
        certain = re.fullmatch(r"\w+", mapping.queue) or ":sqs:" in mapping.queue  # else the source may be a stream
        for setting in mapping.stream_settings if certain else ():
            yield from not_known(setting)
            if setting.value:
                actual = f"{setting.name} is set, but the source is an SQS queue: Lambda rejects the mapping"
                yield Hit(mapping.key, setting.place, actual, f"no {setting.name}")
