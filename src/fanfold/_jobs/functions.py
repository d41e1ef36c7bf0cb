"""The functions a job is made of, checked when they are decorated and not when a run is under way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from fanfold._base.callables import is_coroutine_function
from fanfold.errors import ConfigurationError

_GIVEN: Final[Mapping[str, tuple[str, ...]]] = {
    "source": ("params",),
    "segment": ("rows", "ctx"),
    "fold": ("results",),
    "combine": ("results",),
}
"""What each is called with."""


def check_part(job: str, name: str, function: object) -> Callable[..., Any]:
    """Return a function that can be this part of a job.

    Args:
        job: Name of the job, for errors.
        name: ``source``, ``segment``, ``fold`` or ``combine``.
        function: What was decorated.

    Raises:
        ConfigurationError: If it is none, is async or a generator where that would never run, or takes other arguments.
    """
    if not callable(function):
        raise ConfigurationError(f"job {job}: @job.{name} decorates a function, not {function!r}")
    if name == "segment" and inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"job {job}: the segment function is a generator: return one value instead of yield")
    if name == "segment" and not is_coroutine_function(function):
        raise ConfigurationError(f"job {job}: the segment function must be an async def function")
    if name == "source" and is_coroutine_function(function):
        raise ConfigurationError(f"job {job}: the source function must be a plain def function")
    _check_arguments(job, name, function)
    return function


def _check_arguments(job: str, name: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some built-in functions do not tell
    try:
        signature.bind(*_GIVEN[name])
    except TypeError as error:
        called = f"{getattr(function, '__qualname__', repr(function))}{signature}"
        given = ", ".join(_GIVEN[name])
        raise ConfigurationError(
            f"job {job}: the {name} function is called with ({given}), which {called} does not take"
        ) from error
