"""The setting of a concurrency limit that adjusts itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from fanfold._base.callables import is_coroutine_function
from fanfold._base.frozen import Options
from fanfold.errors import ConfigurationError

OverloadOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
"""Errors of overload: a type, a tuple of types, or a predicate."""


class Auto(Options):
    """A concurrency limit that adjusts itself to the service that the handlers call: ``consumer(concurrency=Auto())``.

    It starts at 10, and grows as long as the latency of the handlers shows that records do not queue in the service. An
    error of overload (HTTP 429 or 503, throttling of AWS) halves it; with ``Retry-After``, it limits the start rate.

    Raises:
        ConfigurationError: If a value is invalid.
    """

    minimum: int = 1
    """Lowest limit, at least 1."""
    maximum: int = 1_000
    """Highest limit, at least ``minimum``; the file descriptors, threads and memory of the process may limit it
    further."""
    overload_on: OverloadOn | None = None
    """Further errors that mean that the service is overloaded: an exception type, a tuple of types, or a predicate."""

    def _check(self) -> None:
        for name in ("minimum", "maximum"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"Auto: {name} must be an integer of at least 1, not {value!r}")
        if self.maximum < self.minimum:
            raise ConfigurationError(f"Auto: maximum must be at least the minimum, {self.minimum}, not {self.maximum}")
        if self.overload_on is not None and not _is_overload_on(self.overload_on):
            raise ConfigurationError(
                "Auto: overload_on must be an exception type, a tuple of exception types, a predicate (a def, not an "
                f"async def), or None, not {self.overload_on!r}"
            )


def _is_overload_on(value: object) -> bool:
    types = value if isinstance(value, tuple) else (value,)
    if all(isinstance(item, type) and issubclass(item, BaseException) for item in types):
        return True
    return callable(value) and not isinstance(value, type) and not is_coroutine_function(value)
