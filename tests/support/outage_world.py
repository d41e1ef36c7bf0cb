"""A queue, its event source mapping, and up to 20 execution environments in virtual time, while a dependency is down.

Real consumers run in the environments; see ``virtual_time``. The same seed gives the same run. The mapping delivers as
soon as an environment is free; it does not model how Lambda adds pollers, or slows them down after errors.
"""

import asyncio
import itertools
import logging
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from fanfold._base import error_text
from fanfold._base.backoff import jitter_from
from fanfold._base.sample_events import QUEUE_ARN
from fanfold._ports.queue import Message, Refusal
from fanfold._replay.mapping import Errored, Invocation, MappingSettings, Switch, is_enabled, judge, polls_from
from fanfold.inmemory.queue import InMemoryQueue, QueuedMessage
from fanfold.testing import make_fifo_record, make_record
from outage_environments import IDLE_SECONDS, OpenRun, VirtualEnvironment
from outage_report import Report, Scenario, Sent
from outage_services import Dependency, Interval, SecondServiceDownError
from virtual_time import EPOCH, VirtualLoop, run_virtually

TICK_URL: Final = "https://sqs.eu-west-1.amazonaws.com/123456789012/ticks"
"""URL of the tick queue."""
TICK_ARN: Final = "arn:aws:sqs:eu-west-1:123456789012:ticks"
"""ARN of the tick queue."""
LAG_SECONDS: Final = (10.0, 60.0)
"""Shortest and longest time until the mapping is enabled or disabled."""
_TICK_VISIBILITY_SECONDS: Final = 60.0
"""Visibility timeout of the tick queue."""
_DUPLICATE_SECONDS: Final = 0.5
"""Time after a delivery within which another one is a duplicate."""
_RECEIVE_SECONDS: Final = (0.01, 0.03)
"""Shortest and longest time from a receive to the invocation."""
_HORIZON_SECONDS: Final = 26 * 3_600.0
"""Time after the last outage at which the world ends, whatever is left."""
_LONGEST_STEP: Final = 80_000.0
"""Longest time that the mapping waits without looking at the queue; an event loop allows 24 hours."""


class WatchedQueue(InMemoryQueue):
    """A queue that notifies its mapping of every change."""

    def __init__(self, on_change: Callable[[], object], **settings: Any) -> None:
        self._on_change = on_change
        super().__init__(**settings)

    def _set_visible_at(self, message: QueuedMessage, at: float) -> None:
        super()._set_visible_at(message, at)
        self._on_change()

    def discard(self, messages: Any) -> None:
        """Remove messages."""
        super().discard(messages)
        self._on_change()


class Mapping:
    """An event source mapping: delivers a queue's messages to free environments, and deletes what succeeded."""

    def __init__(self, world: "OutageWorld", arn: str, settings: MappingSettings, receives: int | None) -> None:
        self.arn = arn
        """ARN of the queue."""
        self._world, self._settings = world, settings
        self._changed = asyncio.Event()
        clock = world.loop.time
        self.dead_letters = InMemoryQueue(clock=clock, fifo=settings.fifo)
        self.queue = WatchedQueue(
            self._changed.set,
            visibility_timeout=world.scenario.visibility if receives else _TICK_VISIBILITY_SECONDS,
            max_receive_count=receives,
            dead_letter_queue=self.dead_letters if receives else None,
            clock=clock,
            fifo=settings.fifo,
            duplicates=world.scenario.duplicates if receives else 0.0,
            rng=random.Random(world.rng.random()),
        )
        self.switches: list[Switch] = []
        """Requests to disable or enable it."""

    def switch(self, *, enabled: bool) -> None:
        """Request that the mapping is enabled or disabled, which takes 10 to 60 s."""
        lag = self._world.rng.uniform(*LAG_SECONDS)
        self.switches.append(Switch(self._world.loop.time(), enabled, lag))
        self._changed.set()

    async def poll(self) -> None:
        """Deliver batches, without end."""
        loop, world = self._world.loop, self._world
        while True:
            self._changed.clear()
            if is_enabled(self.switches, loop.time()):
                await world.slots.acquire()
                if taken := self._take():
                    world.start(self._deliver(taken))
                    continue
                world.slots.release()
                world.end_if_done()
                until = self.queue.next_visible_at()
            else:
                until = polls_from(self.switches, loop.time())
            try:
                async with asyncio.timeout(min(max(0.0, until - loop.time()), _LONGEST_STEP)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _take(self) -> list[QueuedMessage]:
        taken: list[QueuedMessage] = []
        while len(taken) < self._settings.batch_size and not self.queue.seconds_until_visible():
            taken += self.queue.take(min(10, self._settings.batch_size - len(taken)))
        return taken

    async def _deliver(self, messages: Sequence[QueuedMessage]) -> None:
        world = self._world
        records = [message.as_record() for message in messages]
        for message in messages:
            world.note_receive(message.body)
        await asyncio.sleep(world.rng.uniform(*_RECEIVE_SECONDS))
        try:
            invocation = await world.invoke({"Records": records})
        finally:
            world.slots.release()
        if isinstance(invocation, Errored):
            world.note_wasted(message.body for message in messages)
        handles = {record["messageId"]: record["receiptHandle"] for record in records}
        verdict = judge(invocation, list(handles), self._settings)
        for message_id, handle in handles.items():
            if message_id not in verdict.failed:
                self.queue.remove(handle)
        world.end_if_done()


class OutageWorld:
    """A world; ``run_world`` runs one.

    Args:
        scenario: What happens in it.
        seed: Seed of all random choices.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop, self.scenario, self.rng = loop, scenario, random.Random(seed)
        self.report = Report(scenario, seed)
        self.counts: Counter[str] = self.report.counts
        self.slots = asyncio.Semaphore(scenario.environments)
        """Free concurrency of the function."""
        self.dependency = self._dependency(scenario.down)
        self.second = Dependency(
            random.Random(self.rng.random()),
            down=scenario.second_down,
            hangs=scenario.hangs,
            error=SecondServiceDownError,
        )
        fifo = bool(scenario.groups)
        arn = f"{QUEUE_ARN}.fifo" if fifo else QUEUE_ARN
        self.mapping = Mapping(self, arn, MappingSettings(scenario.batch_size, fifo=fifo), scenario.receives)
        self.ticks = Mapping(self, TICK_ARN, MappingSettings(1), None)
        """The mapping of the tick queue, which has no redrive policy."""
        self.open_run: OpenRun | None = None
        self._free: list[VirtualEnvironment] = []
        self._numbers = itertools.count()
        self._steps: Counter[str] = Counter()
        self._kills = set(scenario.kills)
        self._to_send = scenario.messages
        self._invocations = 0
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def _dependency(self, down: Sequence[Interval]) -> Dependency:
        scenario = self.scenario
        return Dependency(
            random.Random(self.rng.random()),
            down=down,
            failing=scenario.failing,
            hangs=scenario.hangs,
            bad_environment=scenario.bad_environment,
        )

    def start(self, work: Any) -> None:
        """Start a task that belongs to the world."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._ended.set()
            self._error = task.exception()

    _error: BaseException | None = None

    async def run(self, open_run: OpenRun) -> Report:
        """Run until the queue is empty, and return what happened."""
        self.open_run = open_run
        self.start(self._send())
        self.start(self.mapping.poll())
        self.start(self.ticks.poll())
        if (before := self.scenario.down) and before[0].start:
            self.loop.call_at(before[0].start, self._note_outage)
        self.loop.call_at(self.scenario.outage_ends + _HORIZON_SECONDS, self._ended.set)
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._finished()

    def _note_outage(self) -> None:
        report = self.report
        report.reads_before_outage, report.writes_before_outage = self.counts["reads"], self.counts["writes"]
        report.cold_starts_before_outage = self.counts["cold starts"]

    def _finished(self) -> Report:
        report = self.report
        report.calls, report.second_calls = self.dependency.calls, self.second.calls
        report.in_flight_at_outage = self.dependency.in_flight_at_outage
        report.dead = [message.body for message in self.mapping.dead_letters.messages()]
        report.left = [message.body for message in self.mapping.queue.messages()]
        report.ended_at = self.loop.time()
        return report

    async def _send(self) -> None:
        scenario = self.scenario
        every = scenario.sent_over / max(1, scenario.messages)
        poison_every = math.ceil(scenario.messages / scenario.poison) if scenario.poison else 0
        for number in range(scenario.messages):
            if every:
                await asyncio.sleep(every)
            body = str(number)
            is_poison = bool(poison_every) and number % poison_every == poison_every - 1
            needs_second = bool(scenario.second_down) and number % 2 == 1
            self.report.messages[body] = Sent(is_poison, needs_second, self.loop.time())
            self.mapping.queue.put(self._record(number))
            self._to_send -= 1

    def _record(self, number: int) -> dict[str, Any]:
        name = f"message-{number}"
        if groups := self.scenario.groups:
            record = make_fifo_record(number, group=f"group-{number % groups}", message_id=name)
        else:
            record = make_record(number, message_id=name)
        sent = str(int((EPOCH + self.loop.time()) * 1_000))
        spent = str(1 + self.scenario.spent)
        record["attributes"] |= {"SentTimestamp": sent, "ApproximateReceiveCount": spent}
        return record

    async def handle(self, body: str, environment: VirtualEnvironment) -> None:
        """Handle a message: call the service that it needs.

        Raises:
            ValueError: If the message is poison.
            ServiceDownError: If the service is down.
            SecondServiceDownError: If the second service is down.
        """
        sent = self.report.messages[body]
        if sent.is_poison and int(body) % 2:
            raise ValueError("poison, before the call")
        await (self.second if sent.needs_second else self.dependency).call(environment)
        if sent.is_poison:
            raise ValueError("poison, after the call")
        sent.times_done += 1
        sent.done_at = min(sent.done_at, self.loop.time())

    async def send_ticks(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Send messages to the tick queue."""
        for message in messages:
            number = self.counts["ticks sent"]
            self.counts["ticks sent"] += 1
            self.ticks.queue.put(make_record(message.body, message_id=f"tick-{number}", queue_arn=TICK_ARN))
        return []

    def note_state(self, breaker: str, before: str, state: str) -> None:
        """Note that a circuit was changed in the table, and what its state was before."""
        if state == before:
            return
        self.counts[f"changed to {state}"] += 1
        kept = {"OPEN": self.report.opened_at, "CLOSED": self.report.closed_at}.get(state)
        if kept is not None:
            kept.setdefault(breaker, []).append(self.loop.time())

    def note_receive(self, body: str) -> None:
        """Count a delivery of a message; soon after the last one, it is a duplicate."""
        if (sent := self.report.messages.get(body)) is not None:
            sent.receives += 1
            sent.wasted += self.loop.time() - sent.received_at < _DUPLICATE_SECONDS
            sent.received_at = self.loop.time()

    def note_wasted(self, bodies: Iterable[str]) -> None:
        """Count deliveries that used up a receive although the breaker was not to blame."""
        for body in bodies:
            if body in self.report.messages:
                self.report.messages[body].wasted += 1

    async def invoke(self, event: dict[str, Any]) -> Invocation:
        """Invoke the function in the environment that was used last, or in a new one."""
        environment = self._take_environment()
        started_at = self.loop.time()
        self._invocations += 1
        if self.rng.random() < self.scenario.crashed:
            self.loop.call_later(self.rng.uniform(0.0, 2.0), self._crash, environment)
        try:
            invocation = await environment.invoke(event)
        finally:
            self._invocations -= 1
        self.report.billed_seconds += self.loop.time() - started_at
        self.counts["invocations"] += 1
        if isinstance(invocation, Errored):
            self.counts[invocation.kind] += 1
            self.report.counts[f"{invocation.kind}: {invocation.reason}"] += 1
        if self.rng.random() < self.scenario.recycled:
            environment.kill()
        if not environment.is_killed:
            self._free.append(environment)
        return invocation

    def _take_environment(self) -> VirtualEnvironment:
        while self._free:
            environment = self._free.pop()
            if self.loop.time() - environment.used_at <= IDLE_SECONDS and not environment.is_killed:
                return environment
            environment.kill()
        assert self.open_run is not None
        self.counts["cold starts"] += 1
        return VirtualEnvironment(next(self._numbers), self.open_run, self.scenario.timeout, self._on_step)

    def _crash(self, environment: VirtualEnvironment) -> None:
        if environment.runs:
            environment.kill()

    def _on_step(self, step: str) -> bool:
        self._steps[step] += 1
        if (step, self._steps[step]) not in self._kills:
            return False
        self.counts[f"killed {step}"] += 1
        return True

    def end_if_done(self) -> None:
        """End the world if every message was sent, and none is left."""
        if not self._to_send and not self._invocations and not len(self.mapping.queue):
            self._ended.set()


def run_world(scenario: Scenario, seed: int, open_run: Callable[[OutageWorld], OpenRun]) -> Report:
    """Run a world, and return what happened.

    Args:
        scenario: What happens in it.
        seed: Seed of all random choices.
        open_run: Returns what starts the function in each environment of the world.
    """

    async def main() -> Report:
        world = OutageWorld(scenario, seed)
        with jitter_from(world.rng.random):
            return await world.run(open_run(world))

    with quiet(), _environment_variable("FANFOLD_BREAKER_QUEUE_URL", TICK_URL if scenario.tick else ""):
        return run_virtually(main())


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing, and format no tracebacks, which would take half of the time."""
    logger = logging.getLogger("fanfold")
    level, formatted = logger.level, error_text.error_text
    logger.setLevel(logging.CRITICAL + 1)
    error_text.error_text = _name_of
    try:
        yield
    finally:
        logger.setLevel(level)
        error_text.error_text = formatted


def _name_of(error: BaseException) -> str:
    return type(error).__name__
