"""Check the functions of a job when they are decorated, rather than during a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from fanfold._base.callables import is_coroutine_function
from fanfold.errors import ConfigurationError

_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "source": ("params",),
    "segment": ("rows", "ctx"),
    "fold": ("results",),
    "combine": ("results",),
}
"""The arguments that each function is called with."""


def check_part(job: str, name: str, function: object) -> Callable[..., Any]:
    """Return the function if it can be this part of a job.

    Args:
        job: Name of the job, for errors.
        name: ``source``, ``segment``, ``fold`` or ``combine``.
        function: The decorated object.

    Raises:
        ConfigurationError: If it is not a function, is async or a generator where that cannot work, or takes other
            arguments.
    """
    if not callable(function):
        raise ConfigurationError(f"job {job}: @job.{name} must decorate a function, not {function!r}")
    if name == "segment" and (inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)):
        raise ConfigurationError(
            f"job {job}: the segment function must not be a generator: return one value instead of using yield"
        )
    if name == "source" and is_coroutine_function(function):
        raise ConfigurationError(f"job {job}: the source function must be a def function, not async def")
    _check_arguments(job, name, function)
    return function


def _check_arguments(job: str, name: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some built-in functions have no signature
    try:
        signature.bind(*_ARGUMENTS[name])
    except TypeError as error:
        definition = f"{getattr(function, '__qualname__', repr(function))}{signature}"
        arguments = ", ".join(_ARGUMENTS[name])
        raise ConfigurationError(
            f"job {job}: the {name} function is called with ({arguments}), but {definition} does not accept that"
        ) from error
