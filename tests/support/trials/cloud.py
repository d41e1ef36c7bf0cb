"""A simulated cloud: queues, their event source mappings and a backend, on a clock that moves from timer to timer.

The queues and what a mapping makes of an answer are those of ``fanfold.testing.Simulator``, the ledger and the store
those of ``fanfold.inmemory``. Unlike the simulator's, invocations overlap call by call: each call takes some time, and
meanwhile others go on. The same seed gives the same trial.

Left out: an invocation does not feel its time run out. One that takes longer than ``FUNCTION_SECONDS`` is killed, which
is worse than what a consumer makes of it.
"""

import asyncio
import itertools
import json
import random
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from fanfold import inmemory
from fanfold._base.backoff import jitter_from
from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message, Refusal, Settler
from fanfold._replay.mapping import Errored, Invocation, MappingSettings, Returned, judge
from fanfold.inmemory.queue import InMemoryQueue, InMemorySettler, QueuedMessage
from fanfold.testing import ManualClock, make_record
from trials.faults import (
    HERE,
    MOST_SKEW_SECONDS,
    Around,
    Chance,
    ExecutionEnvironment,
    Troubles,
    new_execution_environment,
    troubled,
)

T = TypeVar("T")

FUNCTION_SECONDS: Final = 60.0
"""After which an invocation is killed."""
VISIBILITY_SECONDS: Final = 6 * FUNCTION_SECONDS
WORK_RECEIVES, FOLD_RECEIVES = 8, 5
"""After which a message is a dead letter; in the template 5 and 5."""
_BATCH = MappingSettings(batch_size=10)
_POLL_SECONDS = 20.0
_START = 1_000_000.0

Function: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
"""Is given an event, and answers."""


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock that is moved: where others would wait for a timer, time jumps to it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_Jumping(clock))
        self._manual = clock

    def time(self) -> float:
        """Return the simulated time."""
        return self._manual()


class _Jumping(selectors.SelectSelector):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._manual = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the simulation stands still: nothing is left that could happen")
            self._manual.advance(max(0.0, timeout))
        return ready


class CountingQueue(InMemoryQueue):
    """A simulated queue that counts what it will deliver twice."""

    def __init__(self, clock: ManualClock, chance: Chance, **settings: Any) -> None:
        super().__init__(**settings, clock=clock, rng=chance.random)
        self._now, self._injected = clock, chance.injected
        self._kept: Counter[int] = Counter()

    def take(self, max_messages: int) -> list[QueuedMessage]:
        """Receive messages."""
        received = super().take(max_messages)
        for message in received:
            at_once = message.visible_at < self._now() + self.visibility_timeout
            self._injected["duplicate deliveries"] += at_once or message.lost_deletions > self._kept[message.number]
            self._kept[message.number] = message.lost_deletions
        return received


class QueuePort:
    """A simulated queue as a backend sends to it."""

    def __init__(self, queue: InMemoryQueue, numbers: "itertools.count[int]") -> None:
        self._queue = queue
        self._numbers = numbers

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send messages; none is refused."""
        for message in messages:
            attributes = {
                name: {"dataType": "String", "stringValue": text} for name, text in message.attributes.items()
            }
            name = f"message-{next(self._numbers)}"
            record = make_record(message.body, message_id=name, receive_count=1, message_attributes=attributes)
            self._queue.put(record, delay_seconds=message.delay_seconds)
        return []


class Recording(Around):
    """A store that remembers every object that was written to a key, in order."""

    def __init__(self, port: Any, chance: Chance, clock: ManualClock) -> None:
        super().__init__(port, chance)
        self.clock = clock
        self.written: list[tuple[float, str, bytes]] = []

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object."""
        await self.port.put(bucket, key, data, if_absent=if_absent)
        self.written.append((self.clock(), key, data))


class RecordingLedger(Around):
    """A ledger that counts the ends of each generation of a run."""

    def __init__(self, port: Any, chance: Chance) -> None:
        super().__init__(port, chance)
        self.ends: Counter[tuple[str, int]] = Counter()

    async def finish(self, run_id: str, **end: Any) -> None:
        """Write the end state of a run."""
        await self.port.finish(run_id, **end)
        self.ends[run_id, (await self.port.run(run_id)).gen] += 1


@dataclass(frozen=True, slots=True)
class Mapped:
    """A queue, and the function that its mapping invokes."""

    queue: InMemoryQueue
    """The queue."""
    function: Function
    """The function."""
    at_once: int
    """Invocations at once, from 1."""


class Cloud:
    """All that a job needs, and all that can befall it."""

    def __init__(self, seed: int, troubles: Troubles) -> None:
        self.clock = ManualClock(_START)
        """The true time."""
        self.chance = Chance(seed, troubles)
        """What decides."""
        self.quarantine = self._queue(None)
        """What was received too often from the fold queue."""
        self.dead = self._queue(None)
        """Dead letters."""
        self.work = self._queue(WORK_RECEIVES, self.dead)
        """Segments."""
        self.fold = self._queue(FOLD_RECEIVES, self.quarantine)
        """Checks."""
        plain = inmemory.backend(clock=self.clock)
        self.store = Recording(plain.store, self.chance, self.clock)
        """The store, and what was written to it."""
        self.ledger = RecordingLedger(plain.ledger, self.chance)
        """The ledger, and what ended in it."""
        numbers = itertools.count()
        ports = {
            "work_queue": QueuePort(self.work, numbers),
            "fold_queue": QueuePort(self.fold, numbers),
            "quarantine_queue": QueuePort(self.quarantine, numbers),
            "ledger": self.ledger,
            "store": self.store,
        }
        self.plain: Backend = replace(plain, **ports)  # type: ignore[arg-type] # each is the port its name says
        """The backend as it is, for looking."""
        hostile = {name: troubled(port, self.chance) for name, port in ports.items()}
        self.backend: Backend = replace(plain, now=self._now, **hostile)
        """The backend as functions have it."""

    def settler(self, queue: InMemoryQueue) -> Callable[[], Awaitable[Settler]]:
        """Return what opens the settler of a function that consumes a queue."""
        settler: Settler = troubled(InMemorySettler(queue, self.dead), self.chance)

        async def open_settler() -> Settler:
            return settler

        return open_settler

    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[Backend]:
        """Open the backend as functions have it."""
        yield self.backend

    async def invoke(self, work: Callable[[], Awaitable[T]]) -> T | Errored:
        """Do something in an execution environment of its own; return what it returns, or how it ended instead."""
        environment = new_execution_environment(self.chance)
        HERE.set(environment)
        task = asyncio.ensure_future(work())
        death = asyncio.ensure_future(environment.died.wait())
        await asyncio.wait({task, death}, timeout=FUNCTION_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        in_time = task.done() and not environment.died.is_set() and environment.dies_at is None
        environment.died.set()
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError):
            try:
                value = await task
            except Exception as error:  # noqa: BLE001 - a function error is an answer here
                return Errored("error", f"{type(error).__name__}: {error}")
            if in_time:
                return value
        return Errored("killed", "the execution environment died")

    @asynccontextmanager
    async def mapping(self, *mapped: Mapped) -> AsyncIterator[None]:
        """Deliver what is in queues to functions, until the block is left."""
        pollers = [asyncio.ensure_future(self._poll(each)) for each in mapped for _ in range(each.at_once)]
        try:
            yield
        finally:
            for poller in pollers:
                poller.cancel()
            await asyncio.wait(pollers)

    def move_back(self) -> int:
        """Move what was received too often from the fold queue back, as SQS's redrive does; return how much it was."""
        quarantined = self.quarantine.take(max(1, len(self.quarantine)))
        for message in quarantined:
            self.fold.put({**message.record, "attributes": {}})
            self.quarantine.remove(message.handle)
        return len(quarantined)

    async def until(self, holds: Callable[[], Awaitable[bool]], *, within_seconds: float) -> bool:
        """Wait, in simulated time, until something holds; tell whether it came to that."""
        end = self.clock() + within_seconds
        while self.clock() < end:
            if await holds():
                return True
            await anyio.sleep(_POLL_SECONDS)
        return False

    async def _poll(self, mapped: Mapped) -> None:
        while True:
            received = mapped.queue.take(self.chance.random.randint(1, _BATCH.batch_size))
            if received:
                await asyncio.create_task(self._deliver(received, mapped))  # with context variables of its own
            else:
                wait = mapped.queue.next_visible_at() - self.clock()
                # No two at the same moment: which of them is first would not be the same every time.
                await anyio.sleep(min(max(wait, 0.0), _POLL_SECONDS) + self.chance.random.random())

    async def _deliver(self, received: Sequence[QueuedMessage], mapped: Mapped) -> None:
        records = [message.as_record() for message in received]
        answer = await self.invoke(lambda: mapped.function({"Records": records}))
        invocation: Invocation = answer if isinstance(answer, Errored) else Returned(json.dumps(answer))
        verdict = judge(invocation, {message.message_id for message in received}, _BATCH)
        for record in records:
            if record["messageId"] not in verdict.failed:
                mapped.queue.remove(record["receiptHandle"])
        if self.chance.strikes("jumps of time", self.chance.troubles.jumps):
            self.clock.advance(self.chance.random.uniform(0, MOST_SKEW_SECONDS))

    def _queue(self, receives: int | None, dead_letters: InMemoryQueue | None = None) -> InMemoryQueue:
        troubles = self.chance.troubles
        return CountingQueue(
            self.clock,
            self.chance,
            visibility_timeout=VISIBILITY_SECONDS,
            max_receive_count=receives,
            dead_letter_queue=dead_letters,
            duplicates=troubles.duplicates,
            reordered=troubles.reordered,
        )

    def _now(self) -> float:
        return self.clock() + HERE.get(_NOBODY).skew_now


_NOBODY = ExecutionEnvironment()


def simulated(trial: Callable[[Cloud], Coroutine[Any, Any, T]], seed: int, troubles: Troubles) -> T:
    """Run a trial in a cloud of its own, in simulated time."""
    cloud, others = Cloud(seed, troubles), random.getstate()
    random.seed(seed)
    try:
        with jitter_from(random.random), asyncio.Runner(loop_factory=lambda: SimulatedTimeLoop(cloud.clock)) as runner:
            return runner.run(trial(cloud))
    finally:
        random.setstate(others)
