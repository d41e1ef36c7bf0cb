"""A simulated cloud: queues, event source mappings and a backend, on a clock that jumps from timer to timer.

The queues and the decisions of the mapping are those of ``fanfold.testing.Simulator``; the ledger and the store are
those of ``fanfold.inmemory``. Unlike in the simulator, invocations overlap call by call: each call takes some time,
while others continue. A trial is deterministic for its seed.

Not simulated: deadlines. An invocation that takes longer than ``FUNCTION_SECONDS`` is killed, which is worse than the
batch response of a consumer.
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
from fanfold.inmemory import InMemoryQueue, InMemorySettler, QueuedMessage
from fanfold.testing import ManualClock, make_record
from trials.faults import (
    HERE,
    MOST_SKEW_SECONDS,
    Around,
    Chance,
    ExecutionEnvironment,
    Troubles,
    new_execution_environment,
    with_faults,
)

T = TypeVar("T")

FUNCTION_SECONDS: Final = 60.0
"""Seconds after which an invocation is killed."""
VISIBILITY_SECONDS: Final = 6 * FUNCTION_SECONDS
WORK_RECEIVES, FOLD_RECEIVES = 8, 5
"""Receives after which a message moves to the dead-letter queue; 5 and 5 in the template."""
_BATCH = MappingSettings(batch_size=10)
_POLL_SECONDS = 20.0
_START = 1_000_000.0

Function: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
"""Takes an event, and returns a response."""


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on a manual clock: instead of waiting for a timer, it advances the clock to it."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._manual = clock

    def time(self) -> float:
        """Return the simulated time."""
        return self._manual()


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._manual = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the simulation is stuck: no timer is left")
            self._manual.advance(max(0.0, timeout))
        return ready


class CountingQueue(InMemoryQueue):
    """A simulated queue that counts duplicate deliveries."""

    def __init__(self, clock: ManualClock, chance: Chance, **settings: Any) -> None:
        super().__init__(**settings, clock=clock, rng=chance.random)
        self._now, self._injected = clock, chance.injected
        self._lost_deletions: Counter[int] = Counter()

    def take(self, max_messages: int) -> list[QueuedMessage]:
        """Receive messages."""
        received = super().take(max_messages)
        for message in received:
            duplicated = message.visible_at < self._now() + self.visibility_timeout
            self._injected["duplicate deliveries"] += (
                duplicated or message.lost_deletions > self._lost_deletions[message.number]
            )
            self._lost_deletions[message.number] = message.lost_deletions
        return received


class QueuePort:
    """The sending side of a simulated queue, for a backend."""

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
    """A store that records all writes, in order."""

    def __init__(self, port: Any, chance: Chance, clock: ManualClock) -> None:
        super().__init__(port, chance)
        self.clock = clock
        self.written: list[tuple[float, str, bytes]] = []

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object."""
        await self.port.put(bucket, key, data, if_absent=if_absent)
        self.written.append((self.clock(), key, data))


class RecordingLedger(Around):
    """A ledger that counts how often each generation of a run ends."""

    def __init__(self, port: Any, chance: Chance) -> None:
        super().__init__(port, chance)
        self.ends: Counter[tuple[str, int]] = Counter()

    async def finish(self, run_id: str, **end: Any) -> None:
        """Write the final state of a run."""
        await self.port.finish(run_id, **end)
        self.ends[run_id, (await self.port.run(run_id)).gen] += 1


@dataclass(frozen=True, slots=True)
class Mapped:
    """A queue, and the function that its mapping invokes."""

    queue: InMemoryQueue
    """The queue."""
    function: Function
    """The function."""
    concurrency: int
    """Concurrent invocations, from 1."""


class Cloud:
    """The components that a job needs, with faults."""

    def __init__(self, seed: int, troubles: Troubles) -> None:
        self.clock = ManualClock(_START)
        """The true time."""
        self.chance = Chance(seed, troubles)
        """Decides which faults are injected."""
        self.quarantine = self._queue(None)
        """The dead-letter queue of the fold queue."""
        self.dead = self._queue(None)
        """The dead-letter queue of the work queue."""
        self.work = self._queue(WORK_RECEIVES, self.dead)
        """The queue of segments."""
        self.fold = self._queue(FOLD_RECEIVES, self.quarantine)
        """The queue of checks."""
        plain = inmemory.backend(clock=self.clock)
        self.store = Recording(plain.store, self.chance, self.clock)
        """The store, with its writes."""
        self.ledger = RecordingLedger(plain.ledger, self.chance)
        """The ledger, with the ends of generations."""
        numbers = itertools.count()
        ports = {
            "work_queue": QueuePort(self.work, numbers),
            "fold_queue": QueuePort(self.fold, numbers),
            "quarantine_queue": QueuePort(self.quarantine, numbers),
            "ledger": self.ledger,
            "store": self.store,
        }
        self.plain: Backend = replace(plain, **ports)  # type: ignore[arg-type] # each port has the type of its field
        """The backend without faults, for assertions."""
        faulty = {name: with_faults(port, self.chance) for name, port in ports.items()}
        self.backend: Backend = replace(plain, now=self._now, **faulty)
        """The backend of the functions, with faults."""

    def settler(self, queue: InMemoryQueue) -> Callable[[], Awaitable[Settler]]:
        """Return a function that opens the settler for a queue."""
        settler: Settler = with_faults(InMemorySettler(queue, self.dead), self.chance)

        async def open_settler() -> Settler:
            return settler

        return open_settler

    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[Backend]:
        """Open the backend of the functions, with faults."""
        yield self.backend

    async def invoke(self, work: Callable[[], Awaitable[T]]) -> T | Errored:
        """Call a function in a separate execution environment; return its result or its error."""
        environment = new_execution_environment(self.chance)
        HERE.set(environment)
        task = asyncio.ensure_future(work())
        death = asyncio.ensure_future(environment.died.wait())
        await asyncio.wait({task, death}, timeout=FUNCTION_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        responded = task.done() and not environment.died.is_set() and environment.dies_at is None
        environment.died.set()
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError):
            try:
                value = await task
            except Exception as error:  # noqa: BLE001 - a function error is a result here
                return Errored("error", f"{type(error).__name__}: {error}")
            if responded:
                return value
        return Errored("killed", "the execution environment died")

    @asynccontextmanager
    async def mapping(self, *mapped: Mapped) -> AsyncIterator[None]:
        """Deliver messages from queues to functions during the block."""
        pollers = [asyncio.ensure_future(self._poll(one)) for one in mapped for _ in range(one.concurrency)]
        try:
            yield
        finally:
            for poller in pollers:
                poller.cancel()
            await asyncio.wait(pollers)

    def move_back(self) -> int:
        """Redrive the dead letters of the fold queue, as SQS does; return their number."""
        quarantined = self.quarantine.take(max(1, len(self.quarantine)))
        for message in quarantined:
            self.fold.put({**message.record, "attributes": {}})
            self.quarantine.remove(message.handle)
        return len(quarantined)

    async def until(self, is_met: Callable[[], Awaitable[bool]], *, within_seconds: float) -> bool:
        """Poll in simulated time until a condition is met; return False after a timeout."""
        deadline = self.clock() + within_seconds
        while self.clock() < deadline:
            if await is_met():
                return True
            await anyio.sleep(_POLL_SECONDS)
        return False

    async def _poll(self, mapped: Mapped) -> None:
        while True:
            received = mapped.queue.take(self.chance.random.randint(1, _BATCH.batch_size))
            if received:
                await asyncio.create_task(self._deliver(received, mapped))  # with separate context variables
            else:
                wait = mapped.queue.next_visible_at() - self.clock()
                # Random, so that no two pollers wake up at the same time, which would make the order nondeterministic.
                await anyio.sleep(min(max(wait, 0.0), _POLL_SECONDS) + self.chance.random.random())

    async def _deliver(self, received: Sequence[QueuedMessage], mapped: Mapped) -> None:
        records = [message.as_record() for message in received]
        response = await self.invoke(lambda: mapped.function({"Records": records}))
        invocation: Invocation = response if isinstance(response, Errored) else Returned(json.dumps(response))
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
        return self.clock() + HERE.get(_NO_FAULTS).skew_now


_NO_FAULTS = ExecutionEnvironment()


def simulated(trial: Callable[[Cloud], Coroutine[Any, Any, T]], seed: int, troubles: Troubles) -> T:
    """Run a trial in a separate cloud, in simulated time."""
    cloud, state = Cloud(seed, troubles), random.getstate()
    random.seed(seed)
    try:
        with jitter_from(random.random), asyncio.Runner(loop_factory=lambda: SimulatedTimeLoop(cloud.clock)) as runner:
            return runner.run(trial(cloud))
    finally:
        random.setstate(state)
