"""Properties of every batch of a FIFO queue, for any behavior of its handlers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import ids
from endings import end_as
from fanfold import Backoff, Done, Record, Reject, Rejected, Retry
from fanfold._base.outcome import OUTCOMES, acknowledges
from fanfold._ports.queue import Refusal
from fanfold.testing import make_context, make_event, make_fifo_record

ENDINGS = ["return", "return", "return", "raise", "retry", "reject", "reject", "cancel", "exit", "self-cancel"]
SLOW_ENDINGS = ["hang", "swallow"]


@dataclass(frozen=True)
class Case:
    group: str
    ending: str
    steps: int
    accepted: bool
    """True if the dead-letter queue accepts it."""
    committed: bool
    """True if its result can be committed."""


def batches(endings: Sequence[str], size: int) -> st.SearchStrategy[list[Case]]:
    """Return batches of up to ten message groups."""
    case = st.builds(
        Case,
        group=st.sampled_from("abcdefghij"),
        ending=st.sampled_from(endings),
        steps=st.integers(0, 3),
        accepted=st.booleans(),
        committed=st.sampled_from([True, True, True, False]),
    )
    return st.lists(case, max_size=size)


class Handlers:
    """Ends each record as its case specifies, and counts concurrent calls, in total and by group."""

    def __init__(self, batch: list[Case]) -> None:
        self.batch = batch
        self.calls: list[int] = []
        self.running: list[str] = []
        self.peak = 0
        self.crowded: set[str] = set()
        """Groups with concurrent calls."""

    async def one(self, number) -> None:
        async with self.counted([number]):
            await end_as(self.batch[number].ending)

    async def several(self, numbers: list) -> list[Any]:
        async with self.counted(numbers):
            endings = [self.batch[number].ending for number in numbers]
            if "hang" in endings:
                await asyncio.Event().wait()
            errors = {"retry": Retry(after=1), "reject": Reject("never")}
            return [None if ending == "return" else errors.get(ending, ValueError()) for ending in endings]

    @contextlib.asynccontextmanager
    async def counted(self, numbers: list[int]) -> AsyncIterator[None]:
        [group] = {self.batch[number].group for number in numbers}
        self.crowded |= {group} & set(self.running)
        self.calls += numbers
        self.running.append(group)
        self.peak = max(self.peak, len(self.running))
        try:
            for _ in range(self.batch[numbers[0]].steps):
                await asyncio.sleep(0)
            yield
        finally:
            self.running.remove(group)


class Settler:
    """Accepts the dead letters that their cases allow, and refuses every second change of visibility."""

    def __init__(self, batch: list[Case]) -> None:
        self.batch = batch
        self.dead_letters: list[int] = []
        self.visibility: dict[int, int] = {}

    async def __call__(self) -> Self:
        await asyncio.sleep(0)
        return self

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        assert 1 <= len(changes) <= 10
        await asyncio.sleep(0)
        self.visibility |= {int(record.message_id): seconds for record, seconds in changes}
        return range(0, len(changes), 2)

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        assert 1 <= len(rejects) <= 10
        await asyncio.sleep(0)
        numbers = [int(record.message_id) for record, _ in rejects]
        self.dead_letters += [number for number in numbers if self.batch[number].accepted]
        return [
            Refusal(at, "full", final=False) for at, number in enumerate(numbers) if not self.batch[number].accepted
        ]


def event_of(batch: list[Case]) -> dict:
    return make_event(
        records=[
            make_fifo_record(number, group=case.group, message_id=str(number)) for number, case in enumerate(batch)
        ]
    )


def run(batch: list[Case], seconds: float, **changes: Any):
    """Run a batch; return its handlers, its settler, and its result."""
    handlers, settler = Handlers(batch), Settler(batch)
    function = handlers.one if changes.get("chunk_size") is None else handlers.several
    handler = fanfold.consumer(settler=settler, dead_letter_queue_url="dead", **changes)(function)
    return handlers, settler, asyncio.run(handler.process(event_of(batch), make_context(seconds)))


def assert_properties(batch: list[Case], concurrency: int, handlers: Handlers, settler: Settler, result) -> None:
    outcomes = result.outcomes
    assert len(outcomes) == len(batch)
    assert all(isinstance(outcome, OUTCOMES) for outcome in outcomes)
    assert handlers.peak <= concurrency
    assert handlers.crowded == set()
    assert len(handlers.calls) == len(set(handlers.calls))
    for group in {case.group for case in batch}:
        numbers = [number for number, case in enumerate(batch) if case.group == group]
        calls = [number for number in handlers.calls if batch[number].group == group]
        assert calls == numbers[: len(calls)]
        acknowledged = [acknowledges(outcomes[number]) for number in numbers]
        assert acknowledged == sorted(acknowledged, reverse=True)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Done):
            assert batch[number].ending == "return"
        if isinstance(outcome, Rejected) and outcome.forwarded:
            assert number in settler.dead_letters
    assert ids(result) == [str(number) for number, outcome in enumerate(outcomes) if not acknowledges(outcome)]


def first_stops(batch: list[Case], *, commits: bool) -> dict[str, int]:
    """Return, for each group, the first record that cannot be acknowledged, if any."""
    stops: dict[str, int] = {}
    for number, case in enumerate(batch):
        succeeds = case.committed or not commits
        if not (succeeds if case.ending == "return" else case.ending == "reject" and case.accepted):
            stops.setdefault(case.group, number)
    return stops


@given(batches(ENDINGS, 200), st.integers(1, 12), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=80)
def test_all_records_of_a_group_before_its_first_failure_are_acknowledged(batch, concurrency, commits, backs_off):
    """With enough time, these records are the acknowledged prefix of their group."""

    async def commit(done, shared):
        return {at for at, (record, _) in enumerate(done) if batch[int(record.message_id)].committed}

    backoff = Backoff(base=8, jitter=0) if backs_off else None
    handlers, settler, result = run(
        batch, 60, concurrency=concurrency, commit=commit if commits else None, backoff=backoff
    )
    assert_properties(batch, concurrency, handlers, settler, result)
    stops = first_stops(batch, commits=commits)
    for number, outcome in enumerate(result.outcomes):
        assert acknowledges(outcome) == (number < stops.get(batch[number].group, len(batch)))


@given(batches(ENDINGS, 200), st.integers(1, 12), st.integers(1, 30))
@settings(deadline=None, max_examples=60)
def test_a_group_that_is_processed_in_lists_keeps_its_order(batch, concurrency, chunk_size):
    """Lists of one group are processed one after another, and stop at a record that is not done."""
    handlers, settler, result = run(batch, 60, concurrency=concurrency, chunk_size=chunk_size)
    assert_properties(batch, concurrency, handlers, settler, result)
    stops = first_stops(batch, commits=False)
    for number, outcome in enumerate(result.outcomes):
        assert acknowledges(outcome) == (number < stops.get(batch[number].group, len(batch)))


@given(batches([*ENDINGS, *SLOW_ENDINGS], 60), st.integers(1, 12), st.none() | st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=25)
def test_a_deadline_that_cancels_leaves_a_prefix_of_each_group(batch, concurrency, chunk_size, commits):
    """No record after a cancelled one of its group is acknowledged."""

    async def commit(done, shared):
        return {at for at, (record, _) in enumerate(done) if batch[int(record.message_id)].committed}

    stage = commit if commits else None
    handlers, settler, result = run(batch, 0.3, concurrency=concurrency, chunk_size=chunk_size, commit=stage)
    assert_properties(batch, concurrency, handlers, settler, result)


@given(batches(ENDINGS, 100), st.integers(1, 12), st.floats(0.002, 0.02))
@settings(deadline=None, max_examples=40)
def test_a_deadline_during_the_work_leaves_a_prefix_of_each_group(batch, concurrency, seconds):
    """There may be time for all records, for some, or for none."""
    handlers, settler, result = run(batch, seconds, concurrency=concurrency, timeout=0.005)
    assert_properties(batch, concurrency, handlers, settler, result)
