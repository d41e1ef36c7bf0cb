"""A job on a backend in this process, its queues pumped as an event source mapping would, and named faults."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fanfold import Job, inmemory
from fanfold._consumer.consumer import Consumer
from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message, Refusal
from fanfold._ports.run import Run
from fanfold.errors import ServiceError
from fanfold.inmemory import InMemoryLedger, InMemoryQueue, InMemoryStore
from fanfold.testing import ManualClock, make_context, make_event, make_record

Hostile = Callable[[str], None]
"""Called with the name of each backend operation before and after it; raises to make it fail there."""


class Scripted:
    """A backend port whose every operation passes a gate before it happens, and another after it has."""

    def __init__(self, port: Any, gate: Hostile) -> None:
        self._port = port
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._port, name)
        if name in {"hops", "list", "markers", "read"}:

            async def yielding(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                self._gate(f"before {name}")
                async for each in operation(*args, **kwargs):
                    yield each

            return yielding

        async def gated(*args: Any, **kwargs: Any) -> Any:
            self._gate(f"before {name}")
            answer = await operation(*args, **kwargs)
            self._gate(f"after {name}")
            return answer

        return gated if inspect.iscoroutinefunction(operation) else operation


async def swallow_until(release: asyncio.Event) -> None:
    """Wait as a handler does that does not mind being cancelled."""
    while not release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await release.wait()


class Accepting:
    """A settler for which every hand-back goes well."""

    async def hide(self, changes: Sequence[Any]) -> Sequence[Refusal]:
        return ()

    async def bury(self, rejects: Sequence[Any]) -> Sequence[Refusal]:
        return []


async def accepting() -> Accepting:
    return Accepting()


class RefusingQueue(InMemoryQueue):
    """Accepts no message."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Refuse every message, as its sender's fault."""
        return [Refusal(position, "refused", final=True) for position in range(len(messages))]


class Notes:
    """A notifier that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    async def publish(self, subject: str, body: str) -> None:
        self.told.append((subject, body))


class FailingNotifier(Notes):
    """One that fails a few times first."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def publish(self, subject: str, body: str) -> None:
        if self.failures:
            self.failures -= 1
            raise throttled()
        await super().publish(subject, body)


def throttled() -> ServiceError:
    return ServiceError("slow down", code="ThrottlingException", transient=True)


class Bench:
    """A job, a backend, and time that moves when nothing is left to do."""

    def __init__(
        self,
        job: Job,
        *,
        gate: Hostile | None = None,
        max_receive_count: int = 3,
        notifier: Notes | None = None,
        **objects: bytes,
    ) -> None:
        self.clock = ManualClock()
        plain = inmemory.backend(visibility_timeout=30, max_receive_count=max_receive_count, clock=self.clock)
        plain = replace(plain, notifier=notifier)
        self.plain = plain
        self.store: InMemoryStore = plain.store
        self.store.fill("source", {name.replace("_", "."): data for name, data in objects.items()})
        self.backend: Backend = (
            plain
            if gate is None
            else replace(
                plain,
                ledger=Scripted(plain.ledger, gate),
                store=Scripted(plain.store, gate),
                tables=Scripted(plain.tables, gate),
                work_queue=Scripted(plain.work_queue, gate),
                fold_queue=Scripted(plain.fold_queue, gate),
                parking_queue=Scripted(plain.parking_queue, gate),
            )
        )
        self.job = job.with_changes(
            backend=self._open, settler=inmemory.InMemorySettler(plain.work_queue, plain.work_queue.dead_letter_queue)
        )
        self.folds = 0

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Backend]:
        yield self.backend

    @property
    def ledger(self) -> InMemoryLedger:
        return self.plain.ledger

    async def run(self, run_id: str = "run") -> Run:
        found = await self.ledger.run(run_id)
        assert found is not None
        return found

    async def output(self, run_id: str = "run") -> Any:
        run = await self.run(run_id)
        return json.loads(await self.plain.get_result(run.output))

    async def pump(self, queue: InMemoryQueue, handler: Consumer, most: int = 10) -> int:
        """Deliver one batch as the mapping does: what is not reported is deleted, an error deletes nothing."""
        received = await queue.receive(most=most)
        if not received:
            return 0
        records = [
            make_record(
                each.body,
                message_id=each.message_id,
                receive_count=each.receive_count,
                message_attributes={
                    name: {"stringValue": text, "dataType": "String"} for name, text in each.attributes.items()
                },
            )
            | {"receiptHandle": each.receipt_handle}
            for each in received
        ]
        try:
            response = await handler.handle_batch(make_event(records=records), make_context(900))
        except Exception:  # noqa: BLE001 - the mapping takes any error so
            return len(received)
        reported = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        done = [each.receipt_handle for each in received if each.message_id not in reported]
        if done:
            await queue.delete(done)
        return len(received)

    async def looks(self, times: int) -> set[str]:
        """Deliver checks, some times, each when it is visible again; return the states that the run has had by then."""
        states = set()
        for _ in range(times):
            await self.pump(self.plain.fold_queue, self.job.fold_handler)
            states.add((await self.run()).state)
            self.clock.advance(31)
        return states

    async def settle(self, *, most: int = 10, rounds: int = 500) -> None:
        """Pump every queue until all are empty, moving the clock to the next visible message."""
        work, fold = self.plain.work_queue, self.plain.fold_queue
        pairs = [
            (work, self.job.segment_handler),
            (work.dead_letter_queue, self.job.dead_letter_handler),
            (fold, self.job.fold_handler),
        ]
        for _ in range(rounds):
            worked = sum([await self.pump(queue, handler, most) for queue, handler in pairs])
            if not worked:
                waits = [queue.seconds_until_visible() for queue, _ in pairs]
                if min(waits) == float("inf"):
                    return
                self.clock.advance(min(waits))
        raise AssertionError(f"not settled after {rounds} rounds")
