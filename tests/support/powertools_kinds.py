"""The synchronous and the async interface of batch processors, Powertools' or fanfold's."""

import asyncio
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities import batch as theirs

EventType = theirs.EventType


class Kind:
    """The synchronous or the async interface."""

    def __init__(self, batch: Any, name: str) -> None:
        self.is_async = name == "async"
        self.processor: type = batch.AsyncBatchProcessor if self.is_async else batch.BatchProcessor
        self.respond: Callable[..., Any] = (
            batch.async_process_partial_response if self.is_async else batch.process_partial_response
        )
        self.decorate: Callable[..., Any] = batch.async_batch_processor if self.is_async else batch.batch_processor

    def run(self, processor: Any) -> list[tuple[Any, ...]]:
        return processor.async_process() if self.is_async else processor.process()

    def handler(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return a record handler of this kind that calls ``work``."""
        if not self.is_async:
            return work

        async def handle(record):
            await asyncio.sleep(0)
            return work(record)

        return handle


def fails_if(holds: Callable[[Any], bool]) -> Callable[[Any], None]:
    """Return a record handler that raises for records that meet a condition."""

    def work(record: Any) -> None:
        if holds(record):
            raise ValueError

    return work


def fails_on(*bodies: str) -> Callable[[Any], str]:
    def work(record: Any) -> str:
        if record.body in bodies:
            raise ValueError(f"no {record.body}")
        return f"did {record.body}"

    return work
