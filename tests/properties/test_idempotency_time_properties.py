"""Laws of idempotency when calls are slow and handlers are cut off: in order, in lists, on threads and on the loop."""

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
    """A record: its key, and what its handler does after some turns of the loop."""

    key: int
    ending: str = "return"
    turns: int = 0


@dataclass(frozen=True)
class Shape:
    """How a batch is delivered."""

    chunk_size: int | None = None
    concurrency: int = 3
    fifo: bool = False
    plain: bool = False


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
plain_shapes = st.builds(Shape, st.none(), st.integers(1, 5), st.booleans(), st.just(True))  # noqa: FBT003 - a value to draw
already = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["done", "expired", "held", "left"]), max_size=2)
steps = st.lists(st.sampled_from(["", "", "", "slow", "throttled", "lost", "refused", "bug"]), max_size=6)
scripts = st.fixed_dictionaries(dict.fromkeys(CALLS, steps))


class Scripted(InMemoryEntries):
    """Entries whose calls go as a script says, one step each; which keys a fault has met is kept."""

    def __init__(self, script: dict[str, list[str]]) -> None:
        super().__init__()
        self.script = {name: list(script.get(name, ())) for name in CALLS}
        self.met: set[str] = set()

    async def _go(self, name: str, keys: Collection[str], call: Callable[[], Any]) -> Any:
        step = self.script[name].pop(0) if self.script[name] else ""
        if step not in {"", "slow"}:
            self.met.update(keys)
        await asyncio.sleep(SLOW_SECONDS if step == "slow" else 0)
        if step in {"throttled", "refused"}:
            raise ServiceError(step, code=step, transient=step == "throttled")
        if step == "bug":
            raise RuntimeError("Session is closed")
        answer = await call()
        await asyncio.sleep(SLOW_SECONDS if step == "slow" else 0)
        if step == "lost":
            raise ServiceError("no answer", code="ReadTimeoutError", transient=True)
        return answer

    async def read(self, keys: Sequence[str]) -> Any:
        return await self._go("read", (), lambda: super(Scripted, self).read(keys))

    async def claim(self, entry: Entry, now: float) -> Any:
        return await self._go("claim", [entry.key], lambda: super(Scripted, self).claim(entry, now))

    async def complete(self, entries: Sequence[Entry]) -> Any:
        keys = [entry.key for entry in entries]
        return await self._go("complete", keys, lambda: super(Scripted, self).complete(entries))

    async def release(self, key: str, owner: str) -> None:
        await self._go("release", [key], lambda: super(Scripted, self).release(key, owner))


class Handlers:
    """Do what each order says, and count."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.returned: Counter[int] = Counter()
        self.running: Counter[int] = Counter()
        self.beside: set[int] = set()
        """Keys of which two handlers ran at once."""
        self.over = asyncio.Event()
        self.over_for_threads = threading.Event()

    def begin(self, key: int) -> None:
        self.started[key] += 1
        self.running[key] += 1
        if self.running[key] > 1:
            self.beside.add(key)

    async def one(self, order: dict[str, Any]) -> Any:
        self.begin(order["key"])
        try:
            for _ in range(order["turns"]):
                await asyncio.sleep(0)
            if order["ending"] == "hang":
                await self.over.wait()
            while order["ending"] == "swallow" and not self.over.is_set():
                try:
                    await self.over.wait()
                except asyncio.CancelledError:
                    continue
            return self.end(order)
        finally:
            self.running[order["key"]] -= 1

    def on_thread(self, order: dict[str, Any]) -> Any:
        self.begin(order["key"])
        try:
            if order["ending"] in {"hang", "swallow"}:
                self.over_for_threads.wait(10)
            return self.end(order)
        finally:
            self.running[order["key"]] -= 1

    async def several(self, orders: list[dict[str, Any]]) -> list[Any]:
        """One after another; what one raises is its own failure."""
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


def entry_that_is(how: str, key: str) -> Entry:
    if how in {"done", "expired"}:
        return Entry(key, COMPLETED, NOW + (60 if how == "done" else -1))
    return Entry(key, IN_PROGRESS, NOW + 60, NOW + (30 if how == "held" else -1), "another")


def timed_out(outcome: Outcome) -> bool:
    return isinstance(outcome, fanfold.Failed) and isinstance(outcome.error, TimeoutError)


class Trial:
    """A batch, what was known of its keys before, and all that came of it."""

    def __init__(self, batch: list[Case], shape: Shape, known: dict[int, str], script: dict[str, list[str]]) -> None:
        self.batch = batch
        self.shape = shape
        self.known = known
        self.store = Scripted(script)
        self.terms = Idempotency(
            lambda order: order["key"],
            prefix="law",
            lease_seconds=60,
            open_entries=opening(self.store),
            clock=lambda: NOW,
        )
        self.keys = {key: self.terms.key_for({"key": key}, None) for key in KEYS}
        self.before = {self.keys[key]: entry_that_is(how, self.keys[key]) for key, how in known.items()}
        self.store.entries.update(self.before)
        self.cut_off = any(case.ending == "swallow" for case in batch) and not shape.plain
        self.complaints: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RetrySchedule, "delay", no_delay)
            asyncio.run(self.run())

    async def run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: self.complaints.append(complaint))
        self.handlers = Handlers()
        context = make_context(0.25 if self.cut_off else 60)
        self.result = await self.consumer().process(event_of(self.batch, fifo=self.shape.fifo), context)
        self.entries = dict(self.store.entries)
        self.handlers.over.set()
        self.handlers.over_for_threads.set()

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
            idempotency=self.terms,
        )(on_thread if self.shape.plain else one if self.shape.chunk_size is None else several)

    def check(self) -> None:
        assert not self.complaints  # nothing pending was destroyed, no error was never looked at
        assert not self.handlers.beside
        reported = {failure["itemIdentifier"] for failure in self.result.response["batchItemFailures"]}
        for number, (case, outcome) in enumerate(zip(self.batch, self.result.outcomes, strict=True)):
            assert (f"m{number}" in reported) == (not isinstance(outcome, Done))
            if isinstance(outcome, Done):
                assert self.entries[self.keys[case.key]].status == COMPLETED
                assert self.known.get(case.key) == "done" or self.handlers.returned[case.key]
        for key, how in self.known.items():
            if how in {"done", "held"}:
                assert not self.handlers.started[key]
                assert self.entries[self.keys[key]] is self.before[self.keys[key]]
        if not self.cut_off:
            self.check_claims()

    def check_claims(self) -> None:
        """No claim of this batch's is left but of a handler that was left behind, or where a call failed."""
        cut_off = {
            case.key for case, outcome in zip(self.batch, self.result.outcomes, strict=True) if timed_out(outcome)
        }
        left_behind = cut_off if self.shape.plain else set()  # whose threads may not even have begun
        committed = any(isinstance(outcome, Done) for outcome in self.result.outcomes)
        for key, name in self.keys.items():
            entry = self.entries.get(name)
            if entry is not None and entry.status == IN_PROGRESS and entry.owner != "another":
                unwritten = not committed and self.handlers.returned[key]  # no answer waited for its write
                assert unwritten or key in left_behind or name in self.store.met


@given(batches, shapes, already, scripts)
@example([Case(0)], Shape(), {}, {"claim": ["slow"]})
@example([Case(0), Case(1, "raise"), Case(2)], Shape(4), {}, {"release": ["slow"]})
@example([Case(0, "raise")] * 6 + [Case(0)] * 3, Shape(concurrency=5), {}, {})
@settings(deadline=None, max_examples=60)
def test_what_is_acknowledged_is_written_down_however_late_calls_are_answered(batch, shape, known, script):
    """No key is worked on twice at once, or although it was done; no claim is left without a reason."""
    Trial(batch, shape, known, script).check()


@given(batches, plain_shapes, already, scripts)
@settings(deadline=None, max_examples=30)
def test_the_same_holds_of_plain_handlers(batch, shape, known, script):
    """One that is left behind on its thread keeps its claim."""
    Trial(batch, shape, known, script).check()
