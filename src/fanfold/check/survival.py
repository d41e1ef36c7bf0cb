"""The longest outage of a called service that a queue's settings survive, with and without a breaker.

A message survives an outage if it has a receive left when the outage ends. So a healthy message that has spent no
receive, and whose every call fails, survives until its last receive: that is the longest outage. With ``d(n)`` as the
time between receive n and the next one, receive n begins after ``d(1) + … + d(n - 1)``.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from fanfold._base.aws_limits import SQS_DEFAULT_RETENTION_SECONDS, SQS_MAX_VISIBILITY_SECONDS
from fanfold._base.backoff import Backoff

OUTAGE_BUDGET_SECONDS: Final = 43_200.0
"""Default ``outage_budget`` of a breaker."""
OPENING_FAILURES: Final = 5
"""Failures after which a breaker opens, by default."""
OPENING_SPAN_SECONDS: Final = 30.0
"""Time that two failures without a success between them have to span for a breaker to open."""
UNCOVERED_SECONDS: Final = 900.0
"""The end of an outage budget above 11 h 45 min, which the last receive need not reach."""
INVISIBLE_SECONDS: Final = SQS_MAX_VISIBILITY_SECONDS - UNCOVERED_SECONDS
"""Longest time for which a breaker keeps a message invisible with one receive."""

Reason = Literal["receives", "retention", "budget"]


class QueueSettings(NamedTuple):
    """The settings that decide when a message is redelivered. Times are seconds."""

    visibility_timeout: float
    """Visibility timeout of the queue."""
    max_receive_count: int | None
    """Receives after which a message is dead-lettered, at least 1; None without a dead-letter queue."""
    retention: float = SQS_DEFAULT_RETENTION_SECONDS
    """Retention period of the queue."""
    window: float = 0.0
    """Batching window of the mapping."""
    function_timeout: float = 0.0
    """Function timeout."""
    backoff: Backoff | None = None
    """Backoff of the consumer; None if failed messages are redelivered after the visibility timeout."""


class Survival(NamedTuple):
    """The longest outage that settings survive."""

    seconds: float
    """Its length: an outage up to this length costs no healthy message."""
    reason: Reason
    """The limit that it reaches."""


def last_receive(settings: QueueSettings) -> tuple[float, float]:
    """Return the earliest and the latest time of the last receive of a message whose every call fails.

    Times are seconds since its first receive; infinity without a dead-letter queue.

    - Without a backoff, a failed message becomes visible when the visibility timeout, which begins with the receive,
      has passed: ``(receives - 1) * visibility_timeout``. (SQS developer guide, "Amazon SQS visibility timeout".)
    - With a backoff, it is received again after the delay, which begins with the failure: the sum of the delays, from
      ``d * (1 - jitter)`` to ``d`` each. (``Backoff``.) The failure is up to ``function_timeout`` later than the call.
    - A call is up to ``window`` later than the receive. (Lambda developer guide, "Creating and configuring an Amazon
      SQS event source mapping".)
    """
    if settings.max_receive_count is None:
        return float("inf"), float("inf")
    return _receive(settings, settings.max_receive_count)


def _receive(settings: QueueSettings, number: int) -> tuple[float, float]:
    """Return the earliest and the latest time of the receive of this number, from 1."""
    before, backoff = number - 1, settings.backoff
    if backoff is None:
        earliest = before * settings.visibility_timeout
        return earliest, earliest + settings.window
    steady = Backoff(backoff.base, backoff.factor, backoff.cap, jitter=0)
    delays = sum(steady.next_delay(receive) for receive in range(1, number))
    waits = before * (settings.window + settings.function_timeout) + settings.window
    return delays * (1 - backoff.jitter), delays + waits


def without_breaker(settings: QueueSettings) -> Survival:
    """Return the longest outage that settings survive without a breaker.

    It is the earliest time of the last receive, and at most the retention period, after which SQS deletes the message.
    (SQS developer guide, "Amazon SQS message retention".)
    """
    earliest = last_receive(settings)[0]
    return Survival(earliest, "receives") if earliest < settings.retention else _until_expiry(settings)


def opening_receive(settings: QueueSettings) -> int:
    """Return the receive of a message, the only one in its queue, whose failure opens the breaker: from 2 to 5.

    With more messages, a breaker opens earlier. It opens after ``OPENING_FAILURES`` failures, or as soon as two
    failures span ``OPENING_SPAN_SECONDS``. A message with at most two receives left is redelivered after at least this
    time, so the receive before the last one opens it, if there are three or more. (``Breaker``; docs/outages.md.)
    """
    receives = range(2, OPENING_FAILURES)
    number = next((it for it in receives if _receive(settings, it)[0] >= OPENING_SPAN_SECONDS), OPENING_FAILURES)
    most = settings.max_receive_count
    return number if most is None else max(2, min(number, most - 1))


def with_breaker(settings: QueueSettings, outage_budget: float = OUTAGE_BUDGET_SECONDS) -> Survival:
    """Return the longest outage that settings survive with a breaker that opens as late as ``opening_receive``.

    The receive that opens it, and each one after it except the last, can keep the message invisible for up to
    ``INVISIBLE_SECONDS``: ``min(outage_budget, left * 11 h 45 min)``, and at most the retention period. The last 15
    minutes of
    a budget above 11 h 45 min are not covered, because the last time cannot be longer. With one or two
    receives, the breaker opens too late for this message, which is redelivered after ``OPENING_SPAN_SECONDS`` or its
    backoff. (SQS quotas; docs/outages.md.)

    Args:
        settings: The settings of the queue and of the mapping.
        outage_budget: The setting of the breaker, seconds.
    """
    if settings.max_receive_count is None:
        return without_breaker(settings)
    left, covered = settings.max_receive_count - opening_receive(settings), 0.0
    if left > 0:
        covered = max(min(outage_budget, INVISIBLE_SECONDS), outage_budget - UNCOVERED_SECONDS)
        seconds = min(covered, left * INVISIBLE_SECONDS)
    else:
        delay = settings.visibility_timeout
        if settings.backoff is not None:
            delay = max(OPENING_SPAN_SECONDS, _receive(settings, 2)[0])
        seconds = (settings.max_receive_count - 1) * delay
    if settings.retention <= seconds:
        return _until_expiry(settings)
    return Survival(seconds, "budget" if left > 0 and seconds == covered else "receives")


def _until_expiry(settings: QueueSettings) -> Survival:
    return Survival(settings.retention, "retention")
