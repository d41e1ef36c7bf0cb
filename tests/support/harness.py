"""A job on an in-memory backend, and delivery of its messages like an event source mapping."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from failing import Hostile, RecordingNotifier, Scripted
from fanfold import Job, inmemory
from fanfold._consumer.consumer import Consumer
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run
from fanfold._replay.mapping import Errored, Returned
from fanfold.inmemory import InMemoryLedger, InMemoryQueue, InMemoryStore
from fanfold.testing import ManualClock, make_context
from mapped import delete, event_of

PORTS = ("ledger", "store", "tables", "work_queue", "fold_queue", "quarantine_queue")


class Bench:
    """A job, a backend, and a manual clock."""

    def __init__(
        self,
        job: Job,
        *,
        gate: Hostile | None = None,
        max_receive_count: int = 3,
        notifier: RecordingNotifier | None = None,
        **objects: bytes,
    ) -> None:
        self.clock = ManualClock()
        plain = inmemory.backend(visibility_timeout=30, max_receive_count=max_receive_count, clock=self.clock)
        plain = replace(plain, notifier=notifier)
        self.plain = plain
        self.store: InMemoryStore = plain.store
        self.store.fill("source", {name.replace("_", "."): data for name, data in objects.items()})
        gated = {} if gate is None else {name: Scripted(getattr(plain, name), gate) for name in PORTS}
        self.backend: Backend = replace(plain, **gated)
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
        run = await self.ledger.run(run_id)
        assert run is not None
        return run

    async def output(self, run_id: str = "run") -> Any:
        run = await self.run(run_id)
        return json.loads(await self.plain.get_result(run.output))

    async def pump(self, queue: InMemoryQueue, handler: Consumer, most: int = 10) -> int:
        """Deliver one batch as the mapping does; return the number of its messages."""
        received = await queue.receive(max_messages=most)
        if not received:
            return 0
        try:
            response = await handler.handle_batch(event_of(received), make_context(900))
        except Exception as error:  # noqa: BLE001 - the mapping handles any error
            await delete(queue, received, Errored("error", repr(error)))
        else:
            await delete(queue, received, Returned(json.dumps(response)))
        return len(received)

    async def work(self) -> None:
        """Deliver segments until none is waiting."""
        while await self.pump(self.plain.work_queue, self.job.segment_handler):
            pass

    async def fold(self) -> None:
        """Deliver all waiting checks."""
        while await self.pump(self.plain.fold_queue, self.job.fold_handler):
            pass

    async def deliver_checks(self, times: int) -> set[str]:
        """Deliver checks ``times`` times, whenever they are visible; return the states of the run."""
        states = set()
        for _ in range(times):
            await self.pump(self.plain.fold_queue, self.job.fold_handler)
            states.add((await self.run()).state)
            self.clock.advance(31)
        return states

    async def settle(self, *, most: int = 10, rounds: int = 500) -> None:
        """Deliver messages until all queues are empty, and advance the clock to the next visible message."""
        work, fold = self.plain.work_queue, self.plain.fold_queue
        pairs = [
            (work, self.job.segment_handler),
            (work.dead_letter_queue, self.job.dead_letter_handler),
            (fold, self.job.fold_handler),
        ]
        for _ in range(rounds):
            delivered = sum([await self.pump(queue, handler, most) for queue, handler in pairs])
            if not delivered:
                waits = [queue.seconds_until_visible() for queue, _ in pairs]
                if min(waits) == float("inf"):
                    return
                self.clock.advance(min(waits))
        raise AssertionError(f"not settled after {rounds} rounds")


async def started(bench: Bench, **params: Any) -> Bench:
    """Start the run "run"."""
    await bench.job.start(bench.backend, params, "run")
    return bench


async def ended(bench: Bench, **params: Any) -> Bench:
    """Start the run "run", and deliver all messages."""
    await (await started(bench, **params)).settle()
    return bench
