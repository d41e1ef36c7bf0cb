"""Log lines that say which record they are about, whichever logger they come from.

::

    @fanfold.consumer(observers=[RecordLogging(logger)])
    async def handler(order: dict) -> None:
        logger.info("shipping")  # {"message": "shipping", "message_id": "059f36b4-…", …}

For other libraries than ``logging``: ``record_keys()`` returns what names the record in hand.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from contextvars import Token
from typing import Any

from fanfold._base.log_context import RECORD_KEYS, record_keys
from fanfold._base.outcome import Outcome
from fanfold._base.record import Record
from fanfold.errors import ConfigurationError
from fanfold.observers import BatchCallbacks, CallEnded

__all__ = ["RecordLogging", "record_keys"]


class RecordLogging:
    """An observer that has each log line carry ``message_id``, and in a job's segment handler ``run`` and ``segment``.

    A handler of lists has ``message_ids``. The keys are attributes of the log record: formatters that write JSON
    (Powertools', Lambda's own) write them; a text format names them, ``%(message_id)s``. One that the line itself
    brings, as ``extra``, is left as it is. What Powertools' ``Logger`` buffers is written later, and carries none.

    Args:
        loggers: Where lines are written: Powertools' ``Logger``, a logger of ``logging`` or a handler of it. Lines of
            other loggers that end up there carry the keys too. None for the root logger, which on Lambda writes all.

    Raises:
        ConfigurationError: If one of them has no handler yet, or is no logger.
    """

    def __init__(self, *loggers: Any) -> None:
        for logger in loggers or [logging.getLogger()]:
            for handler in _handlers(logger):
                handler.addFilter(_add_keys)  # once, however often it is added

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks:  # noqa: ARG002 - as for all
        """Ask to be told of each call."""
        return BatchCallbacks(call_started=_call_started)


def _call_started(records: Sequence[Record]) -> CallEnded:
    if len(records) == 1:
        token = RECORD_KEYS.set({"message_id": records[0].message_id})
    else:
        token = RECORD_KEYS.set({"message_ids": [record.message_id for record in records]})
    return functools.partial(_call_ended, token)


def _call_ended(token: Token[Any], _outcomes: Sequence[Outcome]) -> None:
    try:  # noqa: SIM105 - the short way costs each record more
        RECORD_KEYS.reset(token)
    except ValueError:
        pass  # not the handler's context: it was abandoned, and its lines go on to carry its keys


def _add_keys(line: logging.LogRecord) -> bool:
    for key, value in RECORD_KEYS.get().items():
        line.__dict__.setdefault(key, value)
    return True


def _handlers(logger: Any) -> Sequence[logging.Handler]:
    if isinstance(logger, logging.Handler):
        return [logger]
    handlers = [logger.registered_handler] if hasattr(logger, "registered_handler") else _in_reach(logger)
    if found := [handler for handler in handlers if isinstance(handler, logging.Handler)]:
        return found
    raise ConfigurationError(
        f"RecordLogging: {logger!r} has no log handler yet: set up logging first, or give the log handler itself"
    )


def _in_reach(logger: Any) -> Sequence[logging.Handler]:
    """Return the handlers a logger's lines come to: its own, and those of the loggers above it."""
    if not isinstance(logger, logging.Logger):
        raise ConfigurationError(f"RecordLogging takes loggers and log handlers, not {logger!r}")
    handlers = list(logger.handlers)
    while logger.propagate and logger.parent is not None:
        logger = logger.parent
        handlers += logger.handlers
    return handlers
