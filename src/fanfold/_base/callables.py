"""Distinguish ``async def`` functions from ``def`` functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

NO_PROCESSES: Final = "_fanfold_no_processes"
"""Attribute of functions that cannot be the handler of worker processes: the reason, as text."""
_MAX_LAYERS = 100


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Return whether a call returns a coroutine, as for an ``async def`` function or a partial or object around one."""
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the class's method, not callability
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def find_layer(function: Any, kind: type[T]) -> T | None:
    """Return the outermost object of a class in a chain of decorators and partials; None without one.

    Decorators that use ``functools.wraps`` leave the decorated object in ``__wrapped__``.
    """
    layer = function
    for _ in range(_MAX_LAYERS):
        if layer is None or isinstance(layer, kind):
            return layer
        inner = getattr(layer, "__wrapped__", None)
        layer = layer.func if inner is None and isinstance(layer, functools.partial) else inner
    return None
