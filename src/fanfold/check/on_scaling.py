"""The rules about how far mappings scale: reserved concurrency, and the pollers of provisioned mode."""

from __future__ import annotations

from collections.abc import Iterator

from fanfold._base.aws_limits import (
    MAPPING_MAX_MINIMUM_POLLERS,
    MAPPING_MAX_POLLERS,
    MAPPING_MIN_CONCURRENCY,
    MAPPING_MIN_POLLERS,
    MAPPING_POLLER_BATCHES,
    MAPPING_SCALING_MAX,
)
from fanfold.check.values import EventMapping, Function, Hit, Model, NotKnown
from fanfold.check.wording import amount, describe, function_of, not_known


def throttled_by_reserved(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions with a reserved concurrency that a mapping exceeds because its own concurrency is not limited."""
    for mapping in model.mappings:
        function = function_of(model, mapping)
        if function is None or mapping.enabled.value is False or (function.reserved.known and not _reserves(function)):
            continue
        if function.reserved.value == 0:
            yield Hit(
                function.key,
                function.reserved.place,
                f"ReservedConcurrentExecutions 0: Lambda throttles every delivery from {mapping.queue}, and each "
                "counts as a receive: every message ends up in the dead-letter queue",
                f"Enabled: false for {mapping.key} to stop it, or no ReservedConcurrentExecutions",
            )
        elif mapping.maximum_concurrency.known and mapping.maximum_concurrency.value is None:
            yield from _unlimited(model, mapping, function)


def _reserves(function: Function) -> bool:
    return function.reserved.value is not None


def _unlimited(model: Model, mapping: EventMapping, function: Function) -> Iterator[Hit | NotKnown]:
    """Compare the reserved concurrency with what a mapping without MaximumConcurrency can reach."""
    if unknown := not_known(function.reserved, mapping.provisioned, mapping.maximum_pollers):
        yield from unknown
        return
    reserved, fifo = function.reserved.value or 0, model.queues[mapping.queue].fifo
    if mapping.provisioned.value:
        reached = (mapping.maximum_pollers.value or 0) * MAPPING_POLLER_BATCHES
        cause = f"{describe(mapping.maximum_pollers)} of {mapping.key}"
        fit = max(MAPPING_MIN_POLLERS, int(reserved / MAPPING_POLLER_BATCHES))
        fix = f"MaximumPollers {amount(fit)}, and ReservedConcurrentExecutions of at least 10 x MaximumPollers"
    else:
        reached, cause = float(MAPPING_SCALING_MAX), f"{mapping.key} without MaximumConcurrency"
        fit = max(MAPPING_MIN_CONCURRENCY, int(reserved))
        fix = f"MaximumConcurrency {amount(fit)}" + (", and ReservedConcurrentExecutions 2" if reserved < fit else "")
    if reached <= reserved:
        return
    if not fifo.known:
        yield from not_known(fifo)
    elif fifo.value:
        subject = f"whether {mapping.queue} has more than {amount(reserved)} active message groups"
        why = f"Lambda throttles more than the {describe(function.reserved)} of {function.key}"
        yield NotKnown(subject, why, function.reserved.place)
    else:
        yield Hit(
            function.key,
            function.reserved.place,
            f"{describe(function.reserved)}, but {cause} can reach {amount(reached)} concurrent invocations: Lambda "
            "throttles the excess, and each throttled delivery counts as a receive",
            fix,
        )


def pollers_out_of_range(model: Model) -> Iterator[Hit | NotKnown]:
    """Find numbers of pollers that Lambda rejects."""
    for mapping in model.mappings:
        if not mapping.provisioned.value:
            continue  # FF013 reports that it is not known
        fewest, most = mapping.minimum_pollers, mapping.maximum_pollers
        if unknown := not_known(fewest, most):
            yield from unknown
            continue
        ranges = ((fewest, MAPPING_MAX_MINIMUM_POLLERS), (most, MAPPING_MAX_POLLERS))
        for setting, maximum in ranges:
            if not MAPPING_MIN_POLLERS <= (setting.value or 0) <= maximum:
                actual = f"{describe(setting)}: Lambda rejects the mapping"
                yield Hit(mapping.key, setting.place, actual, f"{MAPPING_MIN_POLLERS} to {maximum:,}")
        if (fewest.value or 0) > (most.value or 0):
            actual = f"{describe(fewest)} is above {describe(most)}: Lambda rejects the mapping"
            yield Hit(mapping.key, fewest.place, actual, f"at most {amount(most.value or 0)}")
