"""Keeps the X-Ray subsegments of concurrent records apart, where the X-Ray SDK (Powertools' ``Tracer``) is in use.

The SDK keeps its stack of open subsegments for each thread. Records that run at once on one event loop would share it:
subsegments end up under one another, are closed by one another, and the handler fails for it. Here the stack moves into
a context variable, and each record starts with a copy of its own: what it opens stands under what was open around the
consumer (``capture_lambda_handler``), on the event loop and on threads alike.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

_OPEN: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("fanfold_xray", default=None)


class _ContextLocal:
    """What the SDK keeps in a ``threading.local``, kept in a context variable."""

    def __getattr__(self, name: str) -> Any:
        values = _OPEN.get() or {}
        if name not in values:
            raise AttributeError(name)
        return values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        _OPEN.set({**(_OPEN.get() or {}), name: value})

    def __delattr__(self, name: str) -> None:
        _OPEN.set({key: value for key, value in (_OPEN.get() or {}).items() if key != name})


def use_context_variables() -> bool:
    """Have the SDK keep its stack in a context variable, what is open on this thread included; once, for all.

    Called on the invocation's thread, where ``capture_lambda_handler`` has opened its subsegment.

    Returns:
        Whether it does; not where the SDK is not loaded, nor where its context is not one that goes by threads.
    """
    core = sys.modules.get("aws_xray_sdk.core")
    context: Any = getattr(getattr(core, "xray_recorder", None), "context", None)
    local = getattr(context, "_local", None)
    if isinstance(local, threading.local):
        _OPEN.set(dict(vars(local)))
        context._local = local = _ContextLocal()  # noqa: SLF001 - the SDK has no other way in
    return isinstance(local, _ContextLocal)


def isolate_subsegments(call: Callable[[T], Awaitable[Any]]) -> Callable[[T], Awaitable[Any]]:
    """Return a call that does the same with a stack of open subsegments of its own; the same call without the SDK."""
    if not use_context_variables():
        return call

    async def apart(given: T) -> Any:
        values = _OPEN.get() or {}
        token = _OPEN.set({name: list(value) if isinstance(value, list) else value for name, value in values.items()})
        try:
            return await call(given)
        finally:
            _OPEN.reset(token)

    return apart
