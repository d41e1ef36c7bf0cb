"""Separate the X-Ray subsegments of concurrent records, if the X-Ray SDK (Powertools' ``Tracer``) is in use.

The SDK keeps one stack of open subsegments per thread. Records that run concurrently on one event loop would share it:
they would nest their subsegments in each other's and close each other's, and handlers would fail. This module moves the
stack into a context variable, and each record starts with a copy: its subsegments become children of the subsegment
around the consumer (``capture_lambda_handler``), on the event loop, on threads, and in worker processes.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

TRACE_VARIABLE = "_X_AMZN_TRACE_ID"
"""Environment variable in which Lambda passes the trace of an invocation."""
_OPEN: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("fanfold_xray", default=None)


class _ContextLocal:
    """A replacement of the SDK's ``threading.local`` that stores its attributes in a context variable."""

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
    """Make the SDK keep its stack in a context variable, including the subsegments that are open on this thread.

    Call it on the invocation's thread, where ``capture_lambda_handler`` has opened its subsegment. Further calls have
    no effect.

    Returns:
        Whether the SDK uses the context variable: False if it is not loaded, or if its context is not thread-local.
    """
    core = sys.modules.get("aws_xray_sdk.core")
    context: Any = getattr(getattr(core, "xray_recorder", None), "context", None)
    local = getattr(context, "_local", None)
    if isinstance(local, threading.local):
        _OPEN.set(dict(vars(local)))
        context._local = local = _ContextLocal()  # noqa: SLF001 - the SDK has no public way to replace it
    return isinstance(local, _ContextLocal)


def isolate_subsegments(call: Callable[[T], Awaitable[Any]]) -> Callable[[T], Awaitable[Any]]:
    """Return a call with a separate stack of open subsegments; without the SDK, return the call unchanged."""
    if not use_context_variables():
        return call

    async def isolated(argument: T) -> Any:
        token = _OPEN.set(_copied(_OPEN.get() or {}))
        try:
            return await call(argument)
        finally:
            _OPEN.reset(token)

    return isolated


def isolate_on_thread(call: Callable[[T], Any]) -> Callable[[T], Any]:
    """Return a call as ``isolate_subsegments`` does, for a function that runs in a separate context."""
    if not use_context_variables():
        return call

    def isolated(argument: T) -> Any:
        _OPEN.set(_copied(_OPEN.get() or {}))
        return call(argument)

    return isolated


def open_subsegment() -> str | None:
    """Return the innermost open subsegment as a trace header, for another process; None if none is open or sampled."""
    entities = (_OPEN.get() or {}).get("entities")
    if not entities:
        return None
    entity = entities[-1]
    if not entity.sampled or entity.trace_id not in os.environ.get(TRACE_VARIABLE, ""):  # left open by an invocation
        return None
    return f"Root={entity.trace_id};Parent={entity.id};Sampled=1"


def continue_trace(header: str) -> None:
    """Make the subsegments that this process opens from now on children of the entity that a trace header names."""
    os.environ[TRACE_VARIABLE] = header
    if (core := sys.modules.get("aws_xray_sdk.core")) is not None:
        core.xray_recorder.clear_trace_entities()  # it would keep the parent as long as the trace is the same


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, list) else value for name, value in values.items()}
