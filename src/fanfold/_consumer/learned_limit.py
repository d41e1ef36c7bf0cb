"""A concurrency limit that adjusts itself: it keeps a queue of about its square root in the service that handlers call.

Below the capacity of the service, its latency does not depend on the concurrency; above it, records queue there. By
Little's law, ``in_flight * (1 - base / latency)`` of them wait, if ``base`` is the latency without a queue. The limit
grows while the queue is shorter than ``sqrt(limit)``, and shrinks while it is longer than twice that, each plus the
uncertainty of the measurement. Sources: TCP Vegas (Brakmo and Peterson, 1995) for the target, an additive one, so that
two functions share a service; slow start as in TCP (RFC 5681).

Latencies are compared by their geometric means over windows of completions, because a few slow records would dominate
an arithmetic mean, and a few quick ones a minimum. The base rises only in a *drain*: nothing starts until the queue is
gone, and then few records. Drains happen at multiples of a few seconds of the wall clock, in all processes at the same
time.

An overload error without a time halves the limit. One with ``Retry-After`` teaches a rate of starts instead.

These functions decide from values. ``auto_limit`` collects the values.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

START: Final = 10.0
"""Limit of a new process."""
DRAIN_SECONDS: Final = 5.0
"""Interval of the drains; doubled until it is at least 50 latencies."""

_SAMPLES: Final = 10
_FEWEST: Final = 5
"""Samples of a window in slow start."""
_NOISY_SAMPLES: Final = 40
_NOISE: Final = 1.5
"""Standard errors by which two means must differ."""
_MOST_NOISE: Final = 0.5
_UNCLEAR: Final = 1.2
"""Latency, in multiples of the base, from which a drain measures the base even if the limit is not reached."""
_NOISY: Final = 0.04
"""Variance of the logarithms from which a drain takes more samples."""
LONGEST: Final = 4.0
"""Quartiles that a latency counts at most: few slow records then tell no more than that they are slow."""
_SHORTEST: Final = 1e-6
"""Shortest latency, in seconds: a clock may not advance during a call."""
_CEILING_SECONDS: Final = 10.0
_SMALL: Final = 8.0
"""Limit below which a step is half a record."""


class Drain(NamedTuple):
    """A drain: nothing starts until the queue is gone, and then few records, until the first of them have ended."""

    limit: float
    """The limit to return to."""
    resumes: float
    """Moment from which records start again."""


class Learned(NamedTuple):
    """The knowledge of a process about the concurrency that suits its handlers."""

    limit: float = START
    """Maximum number of records in flight; its integer part counts."""
    minimum: float = 1.0
    """Lowest limit."""
    maximum: float = math.inf
    """Highest limit."""
    slow_start: bool = True
    """True while the limit doubles each latency."""
    target: float = math.inf
    """Limit at which slow start ends; the limit before the process was idle."""
    base: float = 0.0
    """Geometric mean of the latency without a queue, in seconds; 0 if unknown."""
    base_error: float = 0.0
    """Standard error of the logarithm of ``base``."""
    latency: float = 0.0
    """Geometric mean of the latency in the last window, in seconds; 0 before the first."""
    var_log: float = 0.0
    """Variance of the logarithms of the latencies in the last window."""
    samples: int = _SAMPLES
    """Completions that close the next window."""
    settle: float = 0.0
    """Seconds without samples, once no more records are in flight than the limit allows: the others started before."""
    drain: Drain | None = None
    """The drain in progress."""
    drain_at: float = math.inf
    """Moment of the next drain by the wall clock, on the monotonic clock."""
    shrinking: tuple[float, float] | None = None
    """Limit and latency since which the limit has only shrunk."""
    ceiling: float = math.inf
    """Limit above which the limit grows slowly, since an overload."""
    cut_at: float = -math.inf
    """Moment of the last cut: an overload of a record that started before it brings no news."""
    not_before: float = -math.inf
    """Moment before which no record may start: a ``Retry-After``."""
    rate: float = math.inf
    """Maximum number of starts per second; infinite until a ``Retry-After`` teaches one."""
    rate_at: float = 0.0
    """Moment since which the rate grows."""
    is_tight: bool = False
    """True once the rate is a measured quota, which grows slowly."""


class Window(NamedTuple):
    """Samples of records that ended one after the other in steady flow."""

    samples: int
    """Number of samples; 0 if every record of a drain failed."""
    mean_log: float
    """Mean of the logarithms of their latencies in seconds."""
    var_log: float
    """Variance of these logarithms."""
    in_flight: int
    """Most records in flight."""
    reached: bool
    """True if as many records were in flight as the limit allows."""
    now: float
    """The moment, on the monotonic clock."""
    wall: float
    """The same moment on the wall clock, which all processes share."""

    @property
    def latency(self) -> float:
        """Geometric mean of the latencies, in seconds."""
        return math.exp(self.mean_log)

    @property
    def error(self) -> float:
        """Standard error of ``mean_log``."""
        return math.sqrt(self.var_log / self.samples)


def window_of(
    latencies: Sequence[float], *, in_flight: int, reached: bool, now: float, wall: float, unfinished: int = 0
) -> Window:
    """Return the window of latencies in seconds.

    A latency counts at most four times the lower quartile. So does a record that is ``unfinished`` after that time.
    """
    if not latencies:
        return Window(0, 0.0, 0.0, in_flight, reached, now, wall)
    ordered = sorted(latencies)
    if ordered[0] < _SHORTEST:
        ordered = [max(latency, _SHORTEST) for latency in ordered]
    longest = LONGEST * quartile(ordered, unfinished)
    logs = list(map(math.log, ordered[: bisect_right(ordered, longest)]))
    samples, log_of_longest = len(ordered) + unfinished, math.log(longest)
    others = samples - len(logs)
    total = sum(logs) + others * log_of_longest
    squares = sum(map(operator.mul, logs, logs)) + others * log_of_longest**2
    variance = max(0.0, squares - total**2 / samples) / max(1, samples - 1)
    return Window(samples, total / samples, variance, in_flight, reached, now, wall)


def quartile(ordered: Sequence[float], unfinished: int = 0) -> float:
    """Return the lower quartile of sorted values, if further ones are higher."""
    return ordered[min(len(ordered) - 1, (len(ordered) + unfinished) // 4)]


def after_window(learned: Learned, window: Window) -> Learned:
    """Return what is known after a window of samples."""
    if learned.drain is not None:
        return _after_drain(learned, learned.drain, window)
    known = _without_rate(_with_base(learned, window), window)
    if known.base < 0.85 * learned.base and not known.slow_start:
        return drained(known, window.now)
    if known.slow_start:
        return _after_slow_start(known, window)
    return _after_steady(known, window)


def _with_base(learned: Learned, window: Window) -> Learned:
    """Return the base, lowered halfway to a window that is certainly below it."""
    latency, error = window.latency, window.error
    known = learned._replace(latency=latency, var_log=window.var_log)
    if not learned.base:
        return known._replace(base=latency, base_error=error)
    both = math.hypot(error, learned.base_error)
    if latency < learned.base * math.exp(-2 * both):
        return known._replace(base=math.sqrt(latency * learned.base), base_error=both)
    return known


def _without_rate(learned: Learned, window: Window) -> Learned:
    """Return no start rate if it has grown far above the rate that the limit allows."""
    is_unused = rate_at(learned, window.now) > 4 * learned.limit / window.latency
    return learned._replace(rate=math.inf, is_tight=False) if is_unused else learned


def _after_slow_start(learned: Learned, window: Window) -> Learned:
    """Return a limit that grew by the completions, or the end of slow start once records queue."""
    latency, base = window.latency, learned.base
    if latency > 1.5 * base * math.exp(_NOISE * math.hypot(window.error, learned.base_error)):
        knee = window.in_flight * base / latency * 1.1
        ended = learned._replace(limit=in_range(learned, knee), slow_start=False)
        ended = _next_drain(ended, window.now, window.wall)
        return drained(ended, window.now) if knee < 3 * START else _resampled(ended)
    limit = max(learned.limit, min(learned.limit + window.samples, 2 * window.in_flight, learned.target))
    grown = learned._replace(limit=in_range(learned, limit))
    if grown.limit >= min(learned.target, learned.maximum):
        return _resampled(_next_drain(grown._replace(slow_start=False), window.now, window.wall))
    if grown.limit == learned.limit:
        return _same(grown)
    samples = min(grown.limit / 16, grown.maximum - grown.limit)  # the last window reaches the maximum
    return grown._replace(samples=max(_FEWEST, int(samples)))


def _after_steady(learned: Learned, window: Window) -> Learned:
    """Return a limit that keeps the queue near its target."""
    limit, latency, base = learned.limit, window.latency, learned.base
    queue = window.in_flight * (1 - base / latency)
    target = min(math.sqrt(limit), limit / 4)
    noise = min(_MOST_NOISE, _NOISE * math.hypot(window.error, learned.base_error)) * window.in_flight
    low, high = target + noise, 2 * target + noise
    if queue > high:
        excess = (queue - high) / 2 if latency > 2 * base else 0.0
        return _after_shrinking(learned, limit - max(math.sqrt(limit) / 2, excess), window)
    if queue < low and window.reached:
        return _after_growth(learned, queue < low / 2, window)
    return _same(learned)


def _after_growth(learned: Learned, is_far: bool, window: Window) -> Learned:
    limit = learned.limit
    grown = limit + 0.5 if limit < _SMALL else max(limit + math.sqrt(limit), 1.2 * limit if is_far else 0.0)
    grown = min(grown, max(limit, 1.25 * window.in_flight, window.in_flight + 1))
    since = window.now - learned.cut_at
    if since < _CEILING_SECONDS:
        grown = min(grown, max(limit, learned.ceiling * (1 + 0.05 * since)))
    return _resampled(learned._replace(limit=in_range(learned, grown), shrinking=None))


def _after_shrinking(learned: Learned, limit: float, window: Window) -> Learned:
    since = learned.shrinking
    if since is None or window.latency < 0.9 * since[1]:
        since = learned.limit, window.latency
    if learned.limit <= 0.7 * since[0]:
        return drained(learned, window.now, limit=since[0])  # without effect: the service itself became slower
    return _resampled(learned._replace(limit=in_range(learned, limit), shrinking=since))


# --- Drains.


def at_drain_time(learned: Learned, now: float, wall: float, *, reached: bool) -> Learned:
    """Return the start of a drain, or the time of the next one if the limit keeps no record from starting.

    Args:
        learned: What is known.
        now: The moment.
        wall: The same moment on the wall clock.
        reached: True if as many records were in flight as the limit allows.
    """
    if reached or learned.latency > _UNCLEAR * learned.base:
        return drained(learned, now)
    return _next_drain(learned, now, wall)


def drained(learned: Learned, now: float, *, limit: float | None = None) -> Learned:
    """Return the start of a drain.

    Args:
        learned: What is known.
        now: The moment.
        limit: The limit to return to; None for the one now.
    """
    is_noisy = learned.var_log > _NOISY
    return learned._replace(
        drain=Drain(learned.limit if limit is None else limit, now + learned.latency),
        limit=max(1.0, learned.limit / (2 if is_noisy else 4)),
        samples=_NOISY_SAMPLES if is_noisy else _SAMPLES,
        shrinking=None,
        drain_at=math.inf,
    )


def _after_drain(learned: Learned, drain: Drain, window: Window) -> Learned:
    """Return the base that the drain measured, and the limit from before it."""
    measured = learned._replace(limit=drain.limit, drain=None)
    if window.samples:
        measured = measured._replace(base=window.latency, base_error=window.error)
    return _resampled(_next_drain(measured, window.now, window.wall))


def _next_drain(learned: Learned, now: float, wall: float) -> Learned:
    interval = DRAIN_SECONDS
    while interval < 50 * learned.base:
        interval *= 2
    return learned._replace(drain_at=now + interval - wall % interval)


# --- Windows.


def _count(samples: float) -> int:
    return max(_SAMPLES, int(samples))


def _same(learned: Learned) -> Learned:
    return learned._replace(samples=_count(learned.limit / 2))


def _resampled(learned: Learned) -> Learned:
    """Return a changed limit; the records that started before the change are no sample."""
    return learned._replace(settle=learned.latency, samples=_count(learned.limit / 2))


def in_range(learned: Learned, limit: float) -> float:
    """Return a limit between the lowest and the highest one."""
    return min(max(limit, learned.minimum), learned.maximum)


# --- Overload, and idle time.


def after_refusal(
    learned: Learned,
    started: float,
    now: float,
    running: int,
    retry_after: float | None,
    successes: int,
    since: float,
) -> Learned:
    """Return what is known after an overload error.

    Args:
        learned: What was known.
        started: Start of the record that failed.
        now: The moment.
        running: Records in flight, this one included.
        retry_after: Seconds that the service asked to wait; None if it did not.
        successes: Records that succeeded since ``since``.
        since: When the records started again after the last ``Retry-After``, or the first record started.
    """
    is_excess = retry_after is None and running - 1 > learned.limit  # an earlier cut has not taken effect
    if started < learned.cut_at or is_excess:
        if retry_after is not None:
            return learned._replace(not_before=max(learned.not_before, now + retry_after))
        return learned
    if retry_after is None:
        before = learned.drain.limit if learned.drain else min(learned.limit, running)
        return learned._replace(
            limit=in_range(learned, min(learned.limit, running) / 2),
            slow_start=False,
            drain=None,
            shrinking=None,
            ceiling=0.9 * before,
            drain_at=now if learned.slow_start else learned.drain_at,
            cut_at=now,
            settle=learned.latency,
            samples=_count(learned.limit / 4),
        )
    resumes = max(learned.not_before, now + retry_after)
    paused = learned._replace(not_before=resumes, cut_at=now, settle=learned.latency, samples=_count(2 * learned.limit))
    if learned.drain:
        paused = paused._replace(limit=learned.drain.limit, drain=None)
    return _with_rate(paused, now, resumes, successes, since)


def _with_rate(learned: Learned, now: float, resumes: float, successes: int, since: float) -> Learned:
    """Return a start rate that the successes up to an overload teach."""
    measured = max(1, successes) / max(resumes - since, 1e-3)
    active = max(1, successes) / max(now - since, 1e-3)
    if not math.isinf(learned.rate) and (learned.is_tight or now - since > 2 * (resumes - now)):
        cut = 0.9 if learned.is_tight else 0.85
        return learned._replace(rate=cut * rate_at(learned, now), rate_at=resumes, is_tight=True)
    if measured > 0.6 * active:
        return learned._replace(rate=0.97 * measured, rate_at=resumes, is_tight=True, slow_start=False)
    return learned._replace(
        rate=math.sqrt(measured * active),
        rate_at=resumes,
        is_tight=not math.isinf(learned.rate),
        slow_start=False,
    )


def rate_at(learned: Learned, now: float) -> float:
    """Return the starts per second that are allowed at a moment: the rate grows while nothing is refused."""
    seconds = max(0.0, now - learned.rate_at)
    return learned.rate * (1 + (seconds / 40) ** 2 if learned.is_tight else math.exp(min(0.2 * seconds, 100.0)))


def after_idle(learned: Learned, seconds: float) -> Learned:
    """Return what is known after a time without records: the limit halves each minute, down to the limit at the start.

    The base stays, and the limit before is the target of a new slow start.
    """
    before = learned.drain.limit if learned.drain else learned.limit
    limit = in_range(learned, max(min(before, START), before * 0.5 ** (seconds // 60)))
    if limit >= before:
        return learned
    target = learned.target if learned.slow_start else before
    return learned._replace(limit=limit, slow_start=True, target=target, drain=None)
