"""Decide how many records fit into one process's share of the memory of an execution environment.

On Lambda Managed Instances, many processes share the memory. The memory guard reacts to resident memory, so a process
exceeds its limit by what the records that it has started still allocate. For one process, the unused part of the
memory covers that; for 16 processes, it does not. So each process learns what a record takes before it runs more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from fanfold._base.log import logger
from fanfold._base.operating_system import peak_resident_bytes, reset_peak_resident_bytes, resident_bytes
from fanfold._consumer.admission import CHECK_SECONDS
from fanfold._consumer.memory_guard import release_free_memory

SLOW_RECORD_SECONDS: Final = 2.0
"""Interval at which one more record starts while no record of the process has ended yet."""
REMEMBERED_BATCHES: Final = 16
"""Number of batches whose most expensive record is remembered."""
_MB: Final = 1024 * 1024


class MemoryShare:
    """Limits the records in flight to those that fit into a process's share of the memory.

    The first record of a process runs alone; if it is slow, one more starts at intervals. Once a record has ended,
    ``(limit - base) / record`` records run concurrently, and at least one: ``base`` is the resident memory while no
    record runs, and ``record`` is the largest of the last batches' ``(peak - base) / records in flight``. Both are
    measured again when a batch starts.

    Args:
        limit_bytes: The process's share of the memory.
        resident: Returns the resident memory in bytes; None if it is unknown.
        peak: Returns the peak of the resident memory since the last reset in bytes; None if it is unknown.
        reset_peak: Sets the peak to the resident memory, if the system can.
        release_free_memory: Returns freed memory to the system.
    """

    reason: str = "memory was full"
    delays_messages: bool = False

    def __init__(
        self,
        limit_bytes: float,
        *,
        resident: Callable[[], int | None] = resident_bytes,
        peak: Callable[[], int | None] = peak_resident_bytes,
        reset_peak: Callable[[], None] = reset_peak_resident_bytes,
        release_free_memory: Callable[[], None] = release_free_memory,
    ) -> None:
        self.limit_bytes = limit_bytes
        """The process's share of the memory."""
        self.held: int = 0
        """Number of times a start waited for memory."""
        self.learned: bool = False
        """True once a record of this process has been measured."""
        self._resident, self._peak, self._reset_peak, self._release = resident, peak, reset_peak, release_free_memory
        self._record_bytes: deque[float] = deque(maxlen=REMEMBERED_BATCHES)
        self._fits: float = 1
        self._base: int | None = None
        self._peak_at_rest = 0
        self._most_running = 0
        """The most records in flight since memory was measured at rest."""
        self._started = 0
        """Records of the current batch that have started."""
        self._next_slow_start = math.inf
        self._due = True

    def batch_starts(self) -> None:
        """Measure again when the next record asks for its start."""
        self._started = 0
        self._due = True

    def wait(self, now: float, running: int) -> float:
        """Return the seconds until the next check if no other record fits, with this number of records in flight."""
        if not running and self._due:
            self._measure_at_rest()
        elif not self.learned and self._started > running:
            self._learn()
        elif not self.learned and now >= self._next_slow_start:
            self._fits = min(running + 1, self._fitting(self._bytes_per_record()))
        if running < self._fits:
            return 0.0
        self.held += self.learned  # what waits for the first record does not wait for memory
        return CHECK_SECONDS

    def started(self, now: float, running: int) -> float:
        """Note that a record starts in addition to this number of records in flight; every start has to ask."""
        self._most_running = max(self._most_running, running + 1)
        self._started += 1
        self._next_slow_start = now + SLOW_RECORD_SECONDS
        return -math.inf

    def _measure_at_rest(self) -> None:
        """Measure the base, and what the records since the last time took."""
        self._release()
        self._base = self._resident()
        if self._most_running:
            self._due = False
            self._learn()
        self._most_running = 0
        self._reset_peak()
        self._peak_at_rest = self._peak() or 0

    def _learn(self) -> None:
        record_bytes = self._bytes_per_record()
        # A peak that the system cannot reset tells nothing about these records unless it has risen.
        if not self.learned or (self._peak() or 0) > self._peak_at_rest:
            self._record_bytes.append(record_bytes)
        largest = max(self._record_bytes)
        self._fits = self._fitting(largest)
        if not self.learned and (self._base or 0) + largest > self.limit_bytes:
            logger.warning(
                "a record takes about %d MB in addition to the %d MB of its process, but the process's share of the "
                "memory is %d MB: increase the function's memory, or reduce PerExecutionEnvironmentMaxConcurrency",
                largest / _MB,
                (self._base or 0) / _MB,
                self.limit_bytes / _MB,
            )
        self.learned = True

    def _bytes_per_record(self) -> float:
        """Return the memory that a record took since memory was measured at rest; 0 if it is not reported."""
        peak = self._peak()
        return 0.0 if peak is None or self._base is None else max(0, peak - self._base) / max(1, self._most_running)

    def _fitting(self, record_bytes: float) -> float:
        """Return how many records of this size fit, at least 1."""
        return max(1, (self.limit_bytes - (self._base or 0)) // record_bytes) if record_bytes else math.inf
