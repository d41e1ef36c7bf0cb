"""An in-memory queue as a worker needs it, and a worker that runs on it until the test stops it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fanfold._base.record import Record
from fanfold._consumer.consumer import Consumer
from fanfold._ports.queue import Refusal
from fanfold._worker.worker import Worker
from fanfold.inmemory import InMemoryQueue, InMemorySettler


class InMemoryWorkerQueue:
    """A queue and its settler; ``calls`` has the deletions and the changed visibility timeouts, in order."""

    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"

    def __init__(self, *, fifo: bool = False, visibility_timeout: int = 600, **settings: Any) -> None:
        self.fifo = fifo
        self.visibility_timeout = visibility_timeout
        self.dead_letters = InMemoryQueue()
        self.messages = InMemoryQueue(fifo=fifo, visibility_timeout=visibility_timeout, **settings)
        self.settler = InMemorySettler(self.messages, self.dead_letters)
        self.calls: list[tuple[str, Any]] = []
        self.polls = 0
        """Calls of ``receive_records`` that are running."""
        self.longest_receive = 0
        """Largest number of messages that a call asked for."""

    def put(self, *records: dict[str, Any]) -> None:
        for record in records:
            self.messages.put(record)

    async def receive_records(self, *, max_messages: int, wait_seconds: float) -> Sequence[dict[str, Any]]:
        self.longest_receive = max(self.longest_receive, max_messages)
        self.polls += 1
        try:
            async with asyncio.timeout(wait_seconds):
                while not (taken := self.messages.take(max_messages)):  # noqa: ASYNC110 - time makes messages visible
                    await asyncio.sleep(0.001)
        except TimeoutError:
            return []
        finally:
            self.polls -= 1
        return [message.as_record() for message in taken]

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[Refusal]:
        for handle in receipt_handles:
            self.calls.append(("delete", handle.partition("#")[0]))
        return await self.messages.delete(receipt_handles)

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        self.calls += [("visibility", (record.message_id, seconds)) for record, seconds in changes]
        return await self.settler.change_visibility(changes)

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        return await self.settler.send_dead_letters(rejects)

    @property
    def deleted(self) -> list[str]:
        """The message IDs of the deletions, in order."""
        return [value for name, value in self.calls if name == "delete"]

    @property
    def delays(self) -> dict[str, int]:
        """The last visibility timeout that was set for each message ID."""
        return dict(value for name, value in self.calls if name == "visibility")


@asynccontextmanager
async def running(consumer: Consumer[..., Any], queue: InMemoryWorkerQueue, **settings: Any) -> AsyncIterator[Worker]:
    """Run a worker during the block; stop it with two signals at the end."""
    worker = Worker(consumer, queue, queue, **settings)
    task = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        worker.stop()
        await task


async def until(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until a condition is met; fail after a timeout."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - any condition
            await asyncio.sleep(0.001)
