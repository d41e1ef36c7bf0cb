"""The self-adjusting limit as a policy of admission: it collects what ``learned_limit`` decides from."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from fanfold._base.outcome import Failed, Reject, Retry
from fanfold._consumer.auto import Auto
from fanfold._consumer.learned_limit import (
    LONGEST,
    START,
    Drain,
    Learned,
    after_idle,
    after_refusal,
    after_window,
    at_drain_time,
    in_range,
    quartile,
    rate_at,
    window_of,
)
from fanfold._consumer.overload import Overload, overload_of

_LATE_SECONDS: Final = 0.02
"""Delay of timers that a start rate makes up for."""
_LOOKS_PER_LATENCY: Final = 8
_SHORTEST_SECONDS: Final = 0.002
"""Shortest window, except in slow start."""
_SAME_START_SECONDS: Final = 0.001
"""Time between the permission to start and the start."""
_STALLED_LATENCIES: Final = 30
"""Latencies since the last start in a drain, after which its records count as hanging."""
_MOST_LATENCIES: Final = 100
"""Latencies that a drain waits for its samples, after the start of the last one."""


class AutoLimit:
    """The self-adjusting limit of one consumer and process, which all its batches share.

    ``ended`` may be called from any thread; ``wait`` and ``started`` by one at a time.

    Args:
        auto: The setting.
        maximum: The highest limit that the process allows; None for that of the setting.
        clock: Returns the time of the deadlines: monotonic, in seconds.
        wall: Returns the time in seconds since the epoch, which all processes share.
    """

    held: int = 0
    reason: str = "the service that the handlers call asked for a pause"
    delays_messages: bool = True
    is_quiet: bool = False

    def __init__(
        self,
        auto: Auto,
        *,
        maximum: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        highest = auto.maximum if maximum is None else min(auto.maximum, max(1, maximum))
        start = Learned(minimum=min(auto.minimum, highest), maximum=highest)
        self.learned: Learned = start._replace(limit=in_range(start, START))
        """The knowledge that it decides from."""
        self.workers: int = int(self.learned.limit)
        """Maximum number of records in flight, at least 1."""
        self._overload_on = auto.overload_on
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        """Those of the window."""
        self._samples, self._drains_at = self.learned.samples, self.learned.drain_at
        self._peak = 0
        """Most records in flight since the window began."""
        self._samples_from = -math.inf
        """Moment from which latencies are samples; infinite until no more records run than the limit allows."""
        self._closes_from = -math.inf
        """Moment before which the window does not close, for the sake of handlers that take microseconds."""
        self._next_start = -math.inf
        self._last_end, self._running_before = clock(), 0
        """End of the last record, and the records in flight then, it included."""
        self._successes, self._since = 0, self._last_end
        """Records that succeeded since the service was first called after an overload, except those in the window."""
        self._cohort = _Cohort()

    # --- Starts, by one caller at a time.

    def batch_starts(self) -> None:
        """Forget the limit in steps, if no record has run for a while."""
        with self._lock:
            if self._running_before > 1:
                return
            learned = after_idle(self.learned, self._clock() - self._last_end)
            if learned is not self.learned:
                self._learn(learned)
            if not learned.slow_start and learned.drain is None:
                # Of many records that start together, the quick ones end first.
                self.learned = learned._replace(samples=max(learned.samples, 2 * self.workers))
                self._samples = self.learned.samples

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until a record may start: after a ``Retry-After``, at the learned rate, in a drain."""
        learned, drain = self.learned, self.learned.drain
        if now < learned.not_before:
            return learned.not_before - now
        if drain is not None:
            if now < drain.resumes:
                return drain.resumes - now
            self._cohort.running = min(self._cohort.running, running)  # handlers may have been abandoned
            if self._cohort.running >= max(1, int(learned.limit)):
                if now <= self._cohort.latest_start + _STALLED_LATENCIES * learned.latency:
                    return learned.latency / _LOOKS_PER_LATENCY
                self._give_up_drain(now)
        return max(0.0, self._next_start - now)

    def started(self, now: float, running: int) -> float:  # noqa: ARG002 - see Policy
        """Note that a record starts; return until when others may start unasked."""
        learned = self.learned
        if learned.drain is not None:
            with self._lock:
                self._cohort.started(now, learned.samples)
        if not math.isinf(learned.rate):
            self._next_start = max(self._next_start, now - _LATE_SECONDS) + 1 / rate_at(learned, now)
        return -math.inf if self.gates else math.inf

    @property
    def gates(self) -> bool:
        """True while each start has to ask."""
        learned = self.learned
        return learned.drain is not None or not math.isinf(learned.rate) or self._clock() < learned.not_before

    # --- Ends, from any thread.

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        """Note that a record has ended.

        Args:
            started_at: When it started.
            now: The moment.
            value: What its handler returned, or the error that it raised.
            running: Records in flight, this one included.

        Returns:
            True if ``workers`` has changed, or whether starts have to ask.
        """
        self._last_end, self._running_before = now, running
        if value is not None and (kind := self._kind_of(value)) is not None:
            return self._failed(started_at, now, running, kind)
        if now < self._samples_from:
            self._successes += 1
            return self._ended_without_sample(started_at, now, running)
        if running > self._peak:  # noqa: PLR1730 - for every record
            self._peak = running
        latencies = self._latencies
        latencies.append(now - started_at)
        if (len(latencies) < self._samples and now < self._drains_at) or now < self._closes_from:
            return False
        return self._close(now)

    def delay_after(self, error: BaseException) -> float | None:
        """Return the ``Retry-After`` of an error of overload, in seconds; None for any other error."""
        overload = overload_of(error, self._overload_on, self._wall)
        return None if overload is None else overload.retry_after

    def _kind_of(self, value: object) -> Overload | bool | None:
        """Return an overload, False for another failure, None for a result whose latency counts."""
        if isinstance(value, list):  # of a handler of lists
            kinds = [None if item is None else self._kind_of(item) for item in value]
            overload = next((kind for kind in kinds if isinstance(kind, Overload)), None)
            return overload or (False if kinds and None not in kinds else None)
        error = value.error if isinstance(value, Failed) else value
        if not isinstance(error, BaseException):
            return None
        overload = overload_of(error, self._overload_on, self._wall)
        return overload or (None if isinstance(error, Reject | Retry) else False)

    def _failed(self, started_at: float, now: float, running: int, kind: Overload | bool) -> bool:
        if not isinstance(kind, Overload):
            return self.learned.drain is not None and self._ended_in_drain(started_at, now, is_sample=False)
        with self._lock:
            before = self.learned
            successes = self._successes + len(self._latencies)
            learned = after_refusal(before, started_at, now, running, kind.retry_after, successes, self._since)
            if learned.cut_at == before.cut_at:
                self.learned = learned
                return learned is not before
            has_changed = self._learn(learned)
            self._successes, self._since = 0, max(now, learned.not_before)
            return has_changed

    def _ended_without_sample(self, started_at: float, now: float, running: int) -> bool:
        """Note an end in a drain, or before samples are taken.

        They are taken from one latency on after the moment when no more records run than the limit allows.
        """
        if self.learned.drain is not None:
            return self._ended_in_drain(started_at, now, is_sample=True)
        if math.isinf(self._samples_from) and running - 1 <= self.workers and now >= self.learned.not_before:
            self._samples_from = now + self.learned.settle
            self._peak = 0
        return now >= self._drains_at and self._close(now)

    def _close(self, now: float) -> bool:
        """Close the window, or start a drain."""
        with self._lock:
            learned = self.learned
            if learned.drain is not None:
                return False  # another thread was faster
            if now >= self._drains_at:
                return self._learn(at_drain_time(learned, now, self._wall(), reached=self._peak >= self.workers))
            return len(self._latencies) >= learned.samples and self._look(now)

    def _ended_in_drain(self, started_at: float, now: float, *, is_sample: bool) -> bool:
        with self._lock:
            drain: Drain | None = self.learned.drain
            if drain is None or started_at < drain.resumes:
                return False
            self._cohort.running -= 1
            if started_at <= self._cohort.last_start + _SAME_START_SECONDS:
                self._cohort.ended += 1
                if is_sample:
                    self._latencies.append(now - started_at)
            return self._end_drain(now)

    def _give_up_drain(self, now: float) -> None:
        """End a drain without a measurement, because its records hang: they must not stop others."""
        with self._lock:
            if self.learned.drain is not None:  # pragma: no branch - another thread may have just ended it
                self._latencies = []
                self._look(now)

    def _end_drain(self, now: float) -> bool:
        """End the drain if enough of its samples have ended."""
        cohort, learned, ordered = self._cohort, self.learned, sorted(self._latencies)
        left = max(0, learned.samples - cohort.ended)
        if left:
            waited = now - cohort.last_start
            if waited > _MOST_LATENCIES * learned.latency:  # they may have been abandoned: the base stays
                self._latencies, left = [], 0
            elif not ordered or 2 * left >= learned.samples or waited <= LONGEST * quartile(ordered, left):
                return False
        return self._look(now, left)

    def _look(self, now: float, unfinished: int = 0) -> bool:
        window = window_of(
            self._latencies,
            in_flight=self._peak,
            reached=self._peak >= self.workers,
            now=now,
            wall=self._wall(),
            unfinished=unfinished,
        )
        before = self.learned
        has_changed = self._learn(after_window(before, window))
        grows = self.learned.slow_start and self.learned.limit > before.limit
        self._closes_from = -math.inf if grows else now + _SHORTEST_SECONDS
        return has_changed

    def _learn(self, learned: Learned) -> bool:
        before, self.learned = self.learned, learned
        if before.drain is None:
            self._successes += len(self._latencies)
        self._latencies, self._cohort = [], _Cohort()
        self._samples, self._drains_at = learned.samples, learned.drain_at
        self._peak = self._peak if learned.slow_start else 0  # many may end before others start
        if learned.slow_start:
            self._samples_from = -math.inf
        elif learned.drain or (int(before.limit), before.not_before) != (int(learned.limit), learned.not_before):
            self._samples_from = math.inf
        limit = learned.limit if learned.drain is None else learned.drain.limit
        workers, self.workers = self.workers, max(1, int(limit))
        gates_before = before.drain, before.not_before, before.rate
        return workers != self.workers or gates_before != (learned.drain, learned.not_before, learned.rate)


class _Cohort:
    """The records that start in a drain. The first ones are its samples, each of them: the quick ones end first."""

    def __init__(self) -> None:
        self.running = 0
        """Records in flight that started since the drain resumed."""
        self.ended = 0
        """Records of the samples that have ended."""
        self.last_start = math.inf
        """Start of the last record that is a sample."""
        self.latest_start = -math.inf
        """Start of the latest record."""
        self._starts = 0

    def started(self, now: float, samples: int) -> None:
        """Note the start of a record."""
        self.running += 1
        self.latest_start = now
        self._starts += 1
        if self._starts == samples:
            self.last_start = now
