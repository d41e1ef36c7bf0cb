"""The rules about outages of a service that a function calls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from fanfold._base.aws_limits import (
    MAPPING_RECOMMENDED_RECEIVES,
    SQS_MAX_RECEIVES,
    SQS_MAX_VISIBILITY_SECONDS,
)
from fanfold._base.readable import duration_text
from fanfold.check.survival import (
    INVISIBLE_SECONDS,
    UNCOVERED_SECONDS,
    QueueSettings,
    Survival,
    opening_receive,
    with_breaker,
    without_breaker,
)
from fanfold.check.values import EventMapping, Function, Hit, Model, NotKnown, Queue, Setting
from fanfold.check.wording import amount, describe, function_of, not_known, synchronous

BREAKER_TABLE: Final = "FANFOLD_BREAKER_TABLE"
"""The environment variable of a function whose consumer has a breaker."""
RECEIVES: Final = "FANFOLD_MAX_RECEIVE_COUNT"
"""The environment variable from which a breaker knows how many receives a message has left."""
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
    variables = _variables(function_of(model, mapping))
    if _WHOLE_ENVIRONMENT in variables and alone.reason == "receives":
        yield from not_known(variables[_WHOLE_ENVIRONMENT])
        return
    has_breaker = _has_breaker(variables)
    # Its outage_budget is not in the template: one that is long enough.
    survival = with_breaker(settings, outage + UNCOVERED_SECONDS) if has_breaker else alone
    if survival.seconds < outage:
        yield _hit(queue, survival, outage, has_breaker=has_breaker)


def receives_not_known(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions with a breaker that does not know the ``maxReceiveCount`` of their queue."""
    for mapping in synchronous(model):
        function, receives = function_of(model, mapping), model.queues[mapping.queue].receives
        variables = _variables(function)
        if function is None or not _has_breaker(variables):
            continue
        stated = variables.get(RECEIVES)
        if unknown := not_known(receives, *([stated] if stated else [])):
            yield from unknown
        elif receives.value is not None and (stated is None or stated.value != str(int(receives.value))):
            value = "is not set" if stated is None else f"is {stated.value}"
            actual = (
                f"{RECEIVES} {value}, but {mapping.queue} has {describe(receives)}: the breaker does not know which "
            )
            actual += "messages are on their last receive"
            place = function.place if stated is None else stated.place
            yield Hit(function.key, place, actual, f'{RECEIVES}: "{int(receives.value)}"')


def _variables(function: Function | None) -> dict[str, Setting[str]]:
    return {variable.setting.name: variable.setting for variable in function.variables} if function else {}


def _has_breaker(variables: Mapping[str, Setting[str]]) -> bool:
    return BREAKER_TABLE in variables and variables[BREAKER_TABLE].value != ""


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
