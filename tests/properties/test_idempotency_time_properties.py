"""Properties of idempotency with slow calls and cancelled handlers: FIFO, lists, threads, and the event loop."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fanfold
from fanfold import Done
from fanfold._base.outcome import Outcome
from fanfold._base.retry import RetrySchedule
from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry
from fanfold.errors import ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries
from fanfold.testing import make_context, make_event, make_fifo_record, make_record
from idempotent import no_delay, opening
from settlers import accepting

NOW = 1_800_000_000
TIMEOUT_SECONDS = 0.01
SLOW_SECONDS = 0.03
KEYS = range(5)
CALLS = ("read", "claim", "complete", "release")


@dataclass(frozen=True)
class Case:
    """A record: its key, and what its handler does after some iterations of the loop."""

    key: int
    ending: str = "return"
    turns: int = 0


@dataclass(frozen=True)
class Shape:
    """How a batch is delivered, and to which kind of handler."""

    chunk_size: int | None = None
    concurrency: int = 3
    fifo: bool = False
    on_threads: bool = False


batches = st.lists(
    st.builds(
        Case,
        st.sampled_from(KEYS),
        st.sampled_from(["return", "return", "return", "raise", "outcome", "hang", "swallow"]),
        st.integers(0, 3),
    ),
    max_size=12,
)
shapes = st.builds(Shape, st.none() | st.integers(1, 4), st.integers(1, 5), st.booleans())
thread_shapes = st.builds(Shape, st.none(), st.integers(1, 5), st.booleans(), st.just(True))  # noqa: FBT003 - a value to draw
already = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["done", "expired", "held", "left"]), max_size=2)
steps = st.lists(st.sampled_from(["", "", "", "slow", "throttled", "lost", "refused", "bug"]), max_size=6)
scripts = st.fixed_dictionaries(dict.fromkeys(CALLS, steps))


class Scripted(InMemoryEntries):
    """A store whose calls behave as scripted, one step per call; it records the keys of failed calls."""

    def __init__(self, script: dict[str, list[str]]) -> None:
        super().__init__()
        self.script = {name: list(script.get(name, ())) for name in CALLS}
        self.failed_keys: set[str] = set()

    async def _step(self, name: str, keys: Collection[str], call: Callable[[], Any]) -> Any:
        step = self.script[name].pop(0) if self.script[name] else ""
        if step not in {"", "slow"}:
            self.failed_keys.update(keys)
        await asyncio.sleep(SLOW_SECONDS if step == "slow" else 0)
        if step in {"throttled", "refused"}:
            raise ServiceError(step, code=step, transient=step == "throttled")
        if step == "bug":
            raise RuntimeError("Session is closed")
        result = await call()
        await asyncio.sleep(SLOW_SECONDS if step == "slow" else 0)
        if step == "lost":
            raise ServiceError("no response", code="ReadTimeoutError", transient=True)
        return result

    async def read(self, keys: Sequence[str]) -> Any:
        return await self._step("read", (), lambda: super(Scripted, self).read(keys))

    async def claim(self, entry: Entry, now: float) -> Any:
        return await self._step("claim", [entry.key], lambda: super(Scripted, self).claim(entry, now))

    async def complete(self, entries: Sequence[Entry]) -> Any:
        keys = [entry.key for entry in entries]
        return await self._step("complete", keys, lambda: super(Scripted, self).complete(entries))

    async def release(self, key: str, owner: str) -> None:
        await self._step("release", [key], lambda: super(Scripted, self).release(key, owner))


class Handlers:
    """Do what each order specifies, and count the calls."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.returned: Counter[int] = Counter()
        self.running: Counter[int] = Counter()
        self.concurrent: set[int] = set()
        """Keys with concurrent handlers."""
        self.released = asyncio.Event()
        self.threads_released = threading.Event()

    def begin(self, key: int) -> None:
        self.started[key] += 1
        self.running[key] += 1
        if self.running[key] > 1:
            self.concurrent.add(key)

    async def one(self, order: dict[str, Any]) -> Any:
        self.begin(order["key"])
        try:
            for _ in range(order["turns"]):
                await asyncio.sleep(0)
            if order["ending"] == "hang":
                await self.released.wait()
            while order["ending"] == "swallow" and not self.released.is_set():
                try:
                    await self.released.wait()
                except asyncio.CancelledError:
                    continue
            return self.end(order)
        finally:
            self.running[order["key"]] -= 1

    def on_thread(self, order: dict[str, Any]) -> Any:
        self.begin(order["key"])
        try:
            if order["ending"] in {"hang", "swallow"}:
                self.threads_released.wait(10)
            return self.end(order)
        finally:
            self.running[order["key"]] -= 1

    async def several(self, orders: list[dict[str, Any]]) -> list[Any]:
        """Process orders one after another; an error fails only its order."""
        values: list[Any] = []
        for order in orders:
            try:
                values.append(await self.one(order))
            except ValueError as error:
                values.append(error)
        return values

    def end(self, order: dict[str, Any]) -> Any:
        if order["ending"] == "raise":
            raise ValueError("no")
        if order["ending"] == "outcome":
            return fanfold.Failed(ValueError("no"))
        self.returned[order["key"]] += 1
        return None


def event_of(batch: Sequence[Case], *, fifo: bool) -> Any:
    records = []
    for number, case in enumerate(batch):
        body = {"key": case.key, "ending": case.ending, "turns": case.turns}
        if fifo:
            records.append(make_fifo_record(body, group=f"g{number % 2}", message_id=f"m{number}"))
        else:
            records.append(make_record(body, message_id=f"m{number}"))
    return make_event(records=records)


def entry_that_is(state: str, key: str) -> Entry:
    if state in {"done", "expired"}:
        return Entry(key, COMPLETED, NOW + (60 if state == "done" else -1))
    return Entry(key, IN_PROGRESS, NOW + 60, NOW + (30 if state == "held" else -1), "another")


def timed_out(outcome: Outcome) -> bool:
    return isinstance(outcome, fanfold.Failed) and isinstance(outcome.error, TimeoutError)


class Trial:
    """A batch, the entries of its keys before, and its results."""

    def __init__(self, batch: list[Case], shape: Shape, known: dict[int, str], script: dict[str, list[str]]) -> None:
        self.batch = batch
        self.shape = shape
        self.known = known
        self.store = Scripted(script)
        self.idempotency = Idempotency(
            lambda order: order["key"],
            prefix="test",
            lease_seconds=60,
            open_entries=opening(self.store),
            clock=lambda: NOW,
        )
        self.keys = {key: self.idempotency.key_for({"key": key}, None) for key in KEYS}
        self.before = {self.keys[key]: entry_that_is(state, self.keys[key]) for key, state in known.items()}
        self.store.entries.update(self.before)
        self.is_cut_off = any(case.ending == "swallow" for case in batch) and not shape.on_threads
        self.loop_errors: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RetrySchedule, "delay", no_delay)
            asyncio.run(self.run())

    async def run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, error: self.loop_errors.append(error))
        self.handlers = Handlers()
        context = make_context(0.25 if self.is_cut_off else 60)
        self.result = await self.consumer().process(event_of(self.batch, fifo=self.shape.fifo), context)
        self.entries = dict(self.store.entries)
        self.handlers.released.set()
        self.handlers.threads_released.set()

    def consumer(self) -> Any:
        handlers = self.handlers

        async def one(order: dict) -> Any:
            return await handlers.one(order)

        async def several(orders: list[dict]) -> Any:
            return await handlers.several(orders)

        def on_thread(order: dict) -> Any:
            return handlers.on_thread(order)

        return fanfold.consumer(
            concurrency=self.shape.concurrency,
            chunk_size=self.shape.chunk_size,
            timeout=TIMEOUT_SECONDS,
            memory_share=None,
            settler=accepting,
            idempotency=self.idempotency,
        )(on_thread if self.shape.on_threads else one if self.shape.chunk_size is None else several)

    def check(self) -> None:
        assert not self.loop_errors  # no pending task was destroyed, and no exception was never retrieved
        assert not self.handlers.concurrent
        reported = {failure["itemIdentifier"] for failure in self.result.response["batchItemFailures"]}
        for number, (case, outcome) in enumerate(zip(self.batch, self.result.outcomes, strict=True)):
            assert (f"m{number}" in reported) == (not isinstance(outcome, Done))
            if isinstance(outcome, Done):
                assert self.entries[self.keys[case.key]].status == COMPLETED
                assert self.known.get(case.key) == "done" or self.handlers.returned[case.key]
        for key, state in self.known.items():
            if state in {"done", "held"}:
                assert not self.handlers.started[key]
                assert self.entries[self.keys[key]] is self.before[self.keys[key]]
        if not self.is_cut_off:
            self.check_claims()

    def check_claims(self) -> None:
        """Assert that the only remaining claims are those of abandoned handlers and of failed calls."""
        cut_off = {
            case.key for case, outcome in zip(self.batch, self.result.outcomes, strict=True) if timed_out(outcome)
        }
        abandoned = cut_off if self.shape.on_threads else set()  # their threads may not even have started
        committed = any(isinstance(outcome, Done) for outcome in self.result.outcomes)
        for key, name in self.keys.items():
            entry = self.entries.get(name)
            if entry is not None and entry.status == IN_PROGRESS and entry.owner != "another":
                unwritten = not committed and self.handlers.returned[key]  # the batch ended before its write
                assert unwritten or key in abandoned or name in self.store.failed_keys


@given(batches, shapes, already, scripts)
@example([Case(0)], Shape(), {}, {"claim": ["slow"]})
@example([Case(0), Case(1, "raise"), Case(2)], Shape(4), {}, {"release": ["slow"]})
@example([Case(0, "raise")] * 6 + [Case(0)] * 3, Shape(concurrency=5), {}, {})
@settings(deadline=None, max_examples=60)
def test_acknowledged_records_are_recorded_even_if_calls_are_slow(batch, shape, known, script):
    """No key runs concurrently or after its completion, and no claim is left without a reason."""
    Trial(batch, shape, known, script).check()


@given(batches, thread_shapes, already, scripts)
@settings(deadline=None, max_examples=30)
def test_the_same_holds_for_def_handlers(batch, shape, known, script):
    """A handler that is abandoned on its thread keeps its claim."""
    Trial(batch, shape, known, script).check()
