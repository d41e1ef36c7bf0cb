"""Which functions make coroutines, and are no plain functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Tell whether calling this makes a coroutine: an ``async def`` function, a partial or an object around one."""
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the class's method, not callability
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
