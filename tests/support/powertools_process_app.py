"""Record handlers of Powertools' processors that run in worker processes, which import this module."""

import logging
from typing import Any

import fanfold
import process_app
from fanfold.powertools import BatchProcessor, EventType

log = logging.getLogger("powertools_process_app")
processor = BatchProcessor(EventType.SQS, processes=1)
"""As in every function: a process creates it, too, and starts nothing."""


def act(record: Any) -> Any:
    """Do what a message asks for."""
    body = record.json_body
    if body["do"] == "raise Retry":
        raise fanfold.Retry(after=7)
    if body["do"] == "log here":
        log.warning("logged")
        return None
    return process_app.act(body)


def with_context(record: Any, lambda_context: Any) -> tuple[str, str]:
    """Return what a record and the context hold."""
    return record.body, lambda_context.aws_request_id


def of_any_event(record: Any) -> str:
    """Return the type of a record."""
    return type(record).__name__


async def asynchronous(record: Any) -> None:
    """Is not for processes."""


def unnamed(record: Any) -> None:
    """Have the name of another function."""


class Handlers:
    """Has a method that a process could not bind."""

    def act(self, record: Any) -> None:
        """Do nothing."""


method = Handlers().act
unnamed.__qualname__ = "act"
