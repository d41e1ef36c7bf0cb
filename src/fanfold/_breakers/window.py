"""When a breaker opens: decided from the last results of one execution environment, and a count of all of them."""

from __future__ import annotations

import math
from typing import Final

RESULTS: Final = 20
"""Number of the last results that count."""
_FEWEST: Final = 3
"""Results of this execution environment without which it does not open a circuit, unless they span a time."""
_FEWEST_SPANNED: Final = 2
SPAN_SECONDS: Final = 30.0
"""Time after which two failures without a success between them are enough: where there is little traffic."""
_RECENT_SECONDS: Final = 5.0
"""Age from which the last failure opens nothing any more: since then, the service may be back."""
_MASK: Final = (1 << RESULTS) - 1


class ResultWindow:
    """The last results of the calls of one service: successes, and failures that mean that it is down.

    It holds one bit for each result, so a success costs little.

    Args:
        failures: Failures from which a circuit opens.
        share: Share of failures among the last results from which it opens, over 0 and at most 1.
    """

    def __init__(self, failures: int, share: float) -> None:
        self.bits: int = 0
        """The last results, the latest in the lowest bit; 1 for a failure."""
        self.count: int = 0
        """Number of results, at most ``RESULTS``."""
        self._failures = failures
        self._share = share
        self._failing_since = math.inf
        """Time of the first failure after the last success."""
        self._failed_at = -math.inf
        """Time of the last failure."""

    def succeeded(self) -> None:
        """Note a success."""
        self.bits = (self.bits << 1) & _MASK
        self._failing_since = math.inf
        if self.count < RESULTS:
            self.count += 1

    def failed(self, now: float) -> None:
        """Note a failure."""
        self.bits = (self.bits << 1 | 1) & _MASK
        self._failing_since = min(self._failing_since, now)
        self._failed_at = now
        self.count = min(self.count + 1, RESULTS)

    @property
    def is_failing(self) -> bool:
        """True if a failure was noted after the last success."""
        return self._failing_since < math.inf

    def is_down(self, now: float, failures_of_all: int) -> bool:
        """Return whether the service is down.

        Args:
            now: Current time, on the clock of ``failed``.
            failures_of_all: Failures that all execution environments counted recently.
        """
        failures = self.bits.bit_count()
        if failures < _FEWEST_SPANNED or now - self._failed_at > _RECENT_SECONDS:
            return False
        if self._failed_at - self._failing_since >= SPAN_SECONDS:  # whatever succeeded before them, perhaps long ago
            return True
        return (
            failures >= self._share * self.count
            and failures >= min(_FEWEST, self._failures)
            and max(failures, failures_of_all) >= self._failures
        )

    def clear(self) -> None:
        """Forget all results: the service is back."""
        self.bits = self.count = 0
        self._failing_since = math.inf
