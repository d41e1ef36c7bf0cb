"""Distinguish ``async def`` functions from ``def`` functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Return whether a call returns a coroutine, as for an ``async def`` function or a partial or object around one."""
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the class's method, not callability
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
