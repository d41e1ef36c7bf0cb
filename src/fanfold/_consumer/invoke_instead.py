"""The hook with which tools run a consumer below decorators: in place of its invocation, they invoke a copy."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from fanfold._base.outcome import BatchResult
from fanfold._base.record import Event

INVOKE: ContextVar[Callable[[Any, Event, Any], BatchResult] | None] = ContextVar("fanfold_invoke", default=None)
"""Called with the consumer, the event, and the Lambda context, where a handler around a consumer runs outside Lambda."""
