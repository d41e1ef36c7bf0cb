"""Invocations of a handler in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fanfold._base.sample_events import make_context
from fanfold._replay.mapping import Errored, Invocation, Returned

Invoke: TypeAlias = Callable[[dict[str, Any]], Invocation]
"""A callable that invokes a function with an event and waits for the result."""
InvokeTogether: TypeAlias = Callable[[Sequence[dict[str, Any]]], Sequence[Invocation]]
"""A callable that invokes a function with several events concurrently, and waits for the results, in the same order."""


def invoke_here(handler: Callable[[Any, Any], Any], function_timeout: float) -> Invoke:
    """Return a callable that invokes a handler in this process; events and responses go through JSON, as on Lambda."""

    def invoke(event: dict[str, Any]) -> Invocation:
        try:
            response = handler(json.loads(json.dumps(event)), make_context(function_timeout))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a function error is a result of the invocation
            return Errored("error", f"{type(error).__name__}: {error}")
        try:
            return Returned(json.dumps(response))
        except (TypeError, ValueError, RecursionError) as error:
            return Errored("error", f"Runtime.MarshalError: {error}")

    return invoke
