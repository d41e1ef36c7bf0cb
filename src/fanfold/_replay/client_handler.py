"""The handler that Lambda's runtime client imports in a replay: the user's, with what a replay changes.

The simulated time of an invocation is in its client context, which the user's handler does not see.
"""

from __future__ import annotations

import os
from typing import Any

from fanfold._base.import_string import load_handler
from fanfold._replay.handler_settings import HANDLER_VARIABLE, NOW, HandlerSettings, take_settings
from fanfold._replay.replayed_handler import ReplayedHandler
from fanfold.errors import ConfigurationError


def _load() -> ReplayedHandler:
    try:
        return ReplayedHandler(load_handler(os.environ.pop(HANDLER_VARIABLE, "")), take_settings() or HandlerSettings())
    except ConfigurationError as error:
        raise error.__cause__ or error from None


_HANDLER = _load()


def handler(event: Any, context: Any) -> Any:
    """Call the user's handler."""
    now = float((context.client_context.custom or {}).get(NOW, 0))
    context.client_context = None
    return _HANDLER(event, context, now)
