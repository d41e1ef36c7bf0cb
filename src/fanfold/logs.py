"""Log lines with the ids of the record that is being processed, for every logger.

::

    @fanfold.consumer(observers=[RecordLogging(logger)])
    async def handler(order: dict) -> None:
        logger.info("shipping")  # {"message": "shipping", "message_id": "059f36b4-…", …}

For libraries other than ``logging``, ``record_keys()`` returns the ids of the record that is being processed.
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
    """An observer that adds ``message_id`` to each log line, and ``run`` and ``segment`` in a job's segment handler.

    In a handler of lists, it adds ``message_ids``. The keys are attributes of the log record. JSON formatters (those of
    Powertools and of Lambda) write them; in a text format, use ``%(message_id)s``. A key that a log call sets itself
    with ``extra`` is not overwritten. Lines that Powertools' ``Logger`` buffers are written later, without the keys.

    Args:
        loggers: Powertools' ``Logger``, or a logger or log handler of ``logging``. Lines that other loggers propagate
            to it get the keys too. None for the root logger, which writes all lines on Lambda.

    Raises:
        ConfigurationError: If an argument has no log handler yet, or is not a logger or a log handler.
    """

    def __init__(self, *loggers: Any) -> None:
        for logger in loggers or [logging.getLogger()]:
            for handler in _handlers(logger):
                handler.addFilter(_add_keys)  # adding it twice has no effect

    def batch_started(self, records: Sequence[Record], batch: object) -> BatchCallbacks:  # noqa: ARG002 - as for all
        """Return the callback for each call of the handler."""
        return BatchCallbacks(call_started=_call_started)


def _call_started(records: Sequence[Record]) -> CallEnded:
    if len(records) == 1:
        token = RECORD_KEYS.set({"message_id": records[0].message_id})
    else:
        token = RECORD_KEYS.set({"message_ids": [record.message_id for record in records]})
    return functools.partial(_call_ended, token)


def _call_ended(token: Token[Any], _outcomes: Sequence[Outcome]) -> None:
    try:  # noqa: SIM105 - contextlib.suppress is slower, for each record
        RECORD_KEYS.reset(token)
    except ValueError:
        pass  # another context: the handler was abandoned, and its later log lines keep the keys


def _add_keys(line: logging.LogRecord) -> bool:
    for key, value in RECORD_KEYS.get().items():
        line.__dict__.setdefault(key, value)
    return True


def _handlers(logger: Any) -> Sequence[logging.Handler]:
    if isinstance(logger, logging.Handler):
        return [logger]
    handlers = [logger.registered_handler] if hasattr(logger, "registered_handler") else _effective_handlers(logger)
    if usable := [handler for handler in handlers if isinstance(handler, logging.Handler)]:
        return usable
    raise ConfigurationError(
        f"RecordLogging: {logger!r} has no log handler yet: set up logging first, or pass the log handler itself"
    )


def _effective_handlers(logger: Any) -> Sequence[logging.Handler]:
    """Return the handlers of a logger, and those of its parents to which it propagates."""
    if not isinstance(logger, logging.Logger):
        raise ConfigurationError(f"RecordLogging: an argument must be a logger or a log handler, not {logger!r}")
    handlers = list(logger.handlers)
    while logger.propagate and logger.parent is not None:
        logger = logger.parent
        handlers += logger.handlers
    return handlers
