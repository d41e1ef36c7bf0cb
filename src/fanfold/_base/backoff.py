"""The delay before a failed message is redelivered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from fanfold._base import aws_limits
from fanfold._base.frozen import Value, put
from fanfold.errors import ConfigurationError


class Backoff(Value):
    """A delay that grows with each delivery, with jitter.

    The delay before delivery n + 1 is uniformly random between ``d * (1 - jitter)`` and ``d``, where
    ``d = min(cap, base * factor ** (n - 1))``; with the defaults: 2.5 to 5 s, 5 to 10 s, 10 to 20 s … at most 15 min.
    (Source: "Exponential backoff and jitter", AWS architecture blog; ``jitter=1`` is its full jitter.)

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    __slots__ = ("base", "factor", "cap", "jitter")  # noqa: RUF023 - in the order of __init__

    base: float
    """Seconds after the first delivery, over 0."""
    factor: float
    """Factor by which the delay grows with each delivery, from 1."""
    cap: float
    """Maximum delay, seconds; at most 12 hours."""
    jitter: float
    """Random share of the delay, from 0 to 1."""

    def __init__(self, base: float = 5.0, factor: float = 2.0, cap: float = 900.0, jitter: float = 0.5) -> None:
        put(self, "base", base)
        put(self, "factor", factor)
        put(self, "cap", cap)
        put(self, "jitter", jitter)
        maximum = aws_limits.SQS_MAX_VISIBILITY_SECONDS
        checks = {
            "base": _is_number(self.base) and 0 < self.base <= maximum,
            "factor": _is_number(self.factor) and self.factor >= 1,
            "cap": _is_number(self.cap) and 0 < self.cap <= maximum,
            "jitter": _is_number(self.jitter) and 0 <= self.jitter <= 1,
        }
        for name, is_valid in checks.items():
            if not is_valid:
                raise ConfigurationError(
                    f"Backoff: {name} must not be {getattr(self, name)!r}: base and cap are seconds over 0 and up to "
                    f"{maximum}, factor is at least 1, jitter is from 0 to 1"
                )

    def next_delay(self, receive_count: int) -> float:
        """Return the visibility timeout of a message until its next delivery.

        Args:
            receive_count: Deliveries so far, this one included; starts at 1.

        Returns:
            Seconds, from 0 to ``cap``.

        Raises:
            ValueError: If receive_count is below 1.
        """
        if receive_count < 1:
            raise ValueError(f"receive_count must be at least 1, not {receive_count}")
        doublings = min(receive_count - 1, 1_000)  # beyond any cap, and no overflow for a realistic factor
        try:
            longest = min(self.cap, self.base * self.factor**doublings)
        except OverflowError:
            longest = self.cap
        return longest * (1 - self.jitter * _SOURCES[-1]())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def random_share() -> float:
    """Return a random number of at least 0 and below 1, from the source of jitter that is in use."""
    return _SOURCES[-1]()


def system_random() -> float:
    """Return a random number of at least 0 and below 1, from the operating system.

    The state of the module ``random`` is part of a Lambda SnapStart snapshot: execution environments that are restored
    from it would all draw the same jitter, and retry at the same moments. (Source: Lambda developer guide, "Handling
    uniqueness with Lambda SnapStart".)
    """
    return (int.from_bytes(os.urandom(7)) >> 3) * 2.0**-53


_SOURCES: list[Callable[[], float]] = [system_random]
"""Sources of jitter; the last one is in use."""
DELIVERY: Final = ContextVar("fanfold_delivery", default=("", 0))
"""The message id and the receive count for which a delay is computed: a source of jitter that uses only these draws the
same numbers, in whatever order records fail."""


@contextmanager
def jitter_from(source: Callable[[], float]) -> Iterator[None]:
    """Draw the jitter from another source within a ``with`` block, on every thread: for runs that must be reproducible.

    Args:
        source: Returns a number of at least 0 and below 1.
    """
    _SOURCES.append(source)
    try:
        yield
    finally:
        _SOURCES.remove(source)
