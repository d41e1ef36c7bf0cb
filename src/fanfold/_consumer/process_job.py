"""The common terms of a consumer and its worker processes: the handler, a batch, and a record on its way."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from fanfold._base.deadline import Deadline
from fanfold._consumer.handler_names import HandlerName


class Spec(NamedTuple):
    """The handler of the processes of one consumer, and its settings."""

    handler: HandlerName
    """The handler."""
    settings: bytes
    """Settings that the outcomes depend on, pickled; those that cannot be pickled are taken from the handler's module.
    """
    max_tasks: int | None
    """Number of records after which a process is replaced; None for no limit."""
    takes: str
    """The content that the handler needs: ``BODY``; ``RECORD``, with the context of the batch; or ``ARGUMENTS``, for a
    handler that is not a consumer's."""


class Job:
    """A record that waits for a process, or that one has.

    Args:
        payload: What the process receives: the message id, the content, and the trace header of the open subsegment.
        size: Size of the content in bytes, approximately.
        batch: The batch of the record.
        future: Its end: an outcome, or None for success.
    """

    __slots__ = ("batch", "future", "payload", "size")

    def __init__(
        self, payload: tuple[str, Any, str | None], size: int, batch: PoolBatch, future: asyncio.Future[Any]
    ) -> None:
        self.payload = payload
        self.size = size
        self.batch = batch
        self.future = future


class PoolBatch(NamedTuple):
    """A batch, as the processes know it."""

    message: tuple[object, ...]
    deadline: Deadline
    timeout: float | None
