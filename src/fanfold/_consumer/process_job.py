"""The common terms of a consumer and its worker processes: the handler, a batch, and a record on its way."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from fanfold._base.deadline import Deadline
from fanfold._base.record import Record
from fanfold._consumer.process_handlers import HandlerName


class Spec(NamedTuple):
    """The handler of the processes of one consumer, and its settings."""

    handler: HandlerName
    """The handler."""
    settings: bytes
    """Settings that the outcomes depend on, pickled; those that cannot be pickled are taken from the handler's module.
    """
    max_tasks: int | None
    """Number of records after which a process is replaced; None for no limit."""
    takes_raw: bool
    """True if the handler needs more than the body: the record, or the context of the batch."""


class Job:
    """A record that waits for a process, or that one has.

    Args:
        record: The record.
        batch: Its batch.
        payload: What the process receives of the record.
        future: Its end: an outcome, or None for success.
    """

    __slots__ = ("batch", "future", "payload", "record")

    def __init__(self, record: Record, batch: PoolBatch, payload: Any, future: asyncio.Future[Any]) -> None:
        self.record = record
        self.batch = batch
        self.payload = payload
        self.future = future


class PoolBatch(NamedTuple):
    """A batch, as the processes know it."""

    message: tuple[object, ...]
    deadline: Deadline
    timeout: float | None
