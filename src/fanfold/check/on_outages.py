"""The rule about outages of a service that a function calls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from fanfold._base.aws_limits import (
    MAPPING_RECOMMENDED_RECEIVES,
    SQS_MAX_RECEIVES,
    SQS_MAX_VISIBILITY_SECONDS,
)
from fanfold._base.readable import duration_text
from fanfold.check.survival import (
    INVISIBLE_SECONDS,
    QueueSettings,
    Survival,
    opening_receive,
    with_breaker,
    without_breaker,
)
from fanfold.check.values import EventMapping, Hit, Model, NotKnown, Queue
from fanfold.check.wording import amount, describe, function_of, not_known, synchronous

BREAKER_TABLE: Final = "FANFOLD_BREAKER_TABLE"
"""The environment variable of a function whose consumer has a breaker."""
_WHOLE_ENVIRONMENT: Final = "Variables"


def outage_not_survived(model: Model) -> Iterator[Hit | NotKnown]:
    """Find queues whose settings do not survive an outage of ``model.outage_seconds``."""
    if model.outage_seconds is None:
        return
    for mapping in synchronous(model):
        queue = model.queues[mapping.queue]
        if unknown := not_known(queue.visibility, queue.receives, queue.retention):
            yield from unknown
        else:
            yield from _checked(model, mapping, queue, model.outage_seconds)


def _checked(model: Model, mapping: EventMapping, queue: Queue, outage: float) -> Iterator[Hit | NotKnown]:
    receives = queue.receives.value
    settings = QueueSettings(
        visibility_timeout=queue.visibility.value or 0,
        max_receive_count=None if receives is None else int(receives),
        retention=queue.retention.value or 0,
    )
    alone = without_breaker(settings)
    if alone.seconds >= outage:
        return
    function = function_of(model, mapping)
    variables = [] if function is None else [variable.setting for variable in function.variables]
    named = next((setting for setting in variables if setting.name == BREAKER_TABLE), None)
    whole = next((setting for setting in variables if setting.name == _WHOLE_ENVIRONMENT), None)
    if whole is not None and alone.reason == "receives":
        yield from not_known(whole)
        return
    has_breaker = named is not None and named.value != ""
    survival = with_breaker(settings, outage) if has_breaker else alone  # its outage_budget is not in the template
    if survival.seconds < outage:
        yield _hit(queue, survival, outage, has_breaker=has_breaker)


def _hit(queue: Queue, survival: Survival, outage: float, *, has_breaker: bool) -> Hit:
    length = duration_text(survival.seconds)
    if survival.reason == "retention":
        actual = f"{describe(queue.retention, 's')}: SQS deletes messages after {length} of an outage"
        return Hit(queue.key, queue.retention.place, actual, f"longer than an outage of {duration_text(outage)}")
    settings = f"{describe(queue.visibility, 's')}, {describe(queue.receives)}"
    if has_breaker:
        actual = f"{settings}, with a breaker: a message that fails before it opens can survive only {length}"
        needed = opening_receive(QueueSettings(queue.visibility.value or 0, None)) + math.ceil(
            outage / INVISIBLE_SECONDS
        )
        fix = f"a maxReceiveCount of at least {max(needed, MAPPING_RECOMMENDED_RECEIVES)}"
        return Hit(queue.key, queue.receives.place, actual, fix)
    actual = f"{settings}: a healthy message uses its last receive after {length} of an outage, and is dead-lettered"
    return Hit(queue.key, queue.receives.place, actual, _recommended(queue, outage))


def _recommended(queue: Queue, outage: float) -> str:
    visibility, receives = queue.visibility.value or 0, int(queue.receives.value or 1)
    fixes = [f"a breaker ({BREAKER_TABLE}), with a maxReceiveCount of 5 or more"]
    if receives > 1 and (longer := math.ceil(outage / (receives - 1))) <= SQS_MAX_VISIBILITY_SECONDS:
        fixes.append(f"a VisibilityTimeout of {amount(longer)} s")
    if visibility and (more := math.ceil(outage / visibility) + 1) <= SQS_MAX_RECEIVES:
        fixes.append(f"a maxReceiveCount of {amount(more)}")
    return ", or ".join(fixes)
