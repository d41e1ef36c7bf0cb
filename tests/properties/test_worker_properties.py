"""Properties of a worker on any FIFO queue, whatever its handlers do."""

import asyncio
from dataclasses import dataclass
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

import fanfold
from fanfold._worker import acknowledge
from fanfold.testing import make_fifo_record
from worker_queue import InMemoryWorkerQueue, running, until

LONG = 1_000
"""A delay after which no message is redelivered during a test, in seconds."""


@dataclass(frozen=True)
class Case:
    group: str
    ending: str
    steps: int

    @property
    def acknowledged(self) -> bool:
        return self.ending in {"return", "reject"}


CASES = st.lists(
    st.builds(
        Case,
        group=st.sampled_from("abcde"),
        ending=st.sampled_from(["return", "return", "return", "reject", "raise", "retry", "cancel", "exit"]),
        steps=st.integers(0, 3),
    ),
    min_size=1,
    max_size=25,
)


def expected(cases: list[Case]) -> tuple[set[int], dict[str, list[int]]]:
    """Return the acknowledged records, and the records of each group that start: up to the first that fails."""
    acknowledged: set[int] = set()
    started: dict[str, list[int]] = {}
    ended: set[str] = set()
    for number, case in enumerate(cases):
        if case.group not in ended:
            started.setdefault(case.group, []).append(number)
            if case.acknowledged:
                acknowledged.add(number)
            else:
                ended.add(case.group)
    return acknowledged, started


class Handler:
    """Ends each record as its case specifies, and records which records started."""

    def __init__(self, cases: list[Case]) -> None:
        self.cases = cases
        self.started: list[int] = []
        self.running: list[str] = []
        self.concurrent_in_group = False
        self.most = 0

    async def one(self, number) -> None:
        case = self.cases[number]
        self.started.append(number)
        self.concurrent_in_group |= case.group in self.running
        self.running.append(case.group)
        self.most = max(self.most, len(self.running))
        for _ in range(case.steps):
            await asyncio.sleep(0)
        self.running.remove(case.group)
        if (error := self.error(case)) is not None:
            raise error

    async def several(self, numbers: list) -> list[Any]:
        group = {self.cases[number].group for number in numbers}
        assert len(group) == 1
        self.started += numbers
        errors = [self.error(self.cases[number]) for number in numbers]
        return [ValueError() if isinstance(error, SystemExit) else error for error in errors]

    @staticmethod
    def error(case: Case) -> BaseException | None:
        return {
            "return": None,
            "reject": fanfold.Reject("never"),
            "raise": ValueError(),
            "retry": fanfold.Retry(after=LONG),
            "cancel": asyncio.CancelledError(),
            "exit": SystemExit(),
        }[case.ending]


def run(cases: list[Case], consumer: Any) -> InMemoryWorkerQueue:
    """Process a queue until nothing is left that may be received."""

    async def process() -> InMemoryWorkerQueue:
        queue = InMemoryWorkerQueue(fifo=True, visibility_timeout=LONG)
        for number, case in enumerate(cases):
            queue.put(make_fifo_record(number, group=case.group, message_id=f"m-{number}"))
        async with running(consumer, queue) as worker:
            await until(
                lambda: (
                    queue.polls
                    and not worker.summary.in_flight
                    and not worker._acknowledger.pending
                    and queue.messages.seconds_until_visible() > 0
                )
            )
        return queue

    with mock.patch.object(acknowledge, "LINGER_SECONDS", 0):
        return asyncio.run(process())


@given(cases=CASES, concurrency=st.integers(1, 12), backoff=st.booleans())
def test_the_acknowledged_records_of_a_group_are_a_prefix_that_depends_on_no_other_group(cases, concurrency, backoff):
    """A group ends at its first record that is not acknowledged; the rest gets the delay of that record."""
    handler = Handler(cases)
    settings = {"backoff": fanfold.Backoff(base=LONG * 2, factor=1, jitter=0.5)} if backoff else {}
    consumer = fanfold.consumer(concurrency=concurrency, dead_letter_queue_url="dead", **settings)(handler.one)
    queue = run(cases, consumer)
    acknowledged, started = expected(cases)
    assert set(queue.deleted) == {f"m-{number}" for number in acknowledged}
    assert len(queue.deleted) == len(acknowledged)
    assert {group: [n for n in handler.started if cases[n].group == group] for group in started} == started
    assert not handler.concurrent_in_group
    assert handler.most <= concurrency
    for group, numbers in started.items():
        delays = {queue.delays[name] for name in queue.delays if cases[int(name[2:])].group == group}
        assert len(delays) <= 1
        delayed = cases[numbers[-1]].ending == "retry" or (backoff and not cases[numbers[-1]].acknowledged)
        assert bool(delays) == delayed


@given(cases=CASES, concurrency=st.integers(1, 4), chunk_size=st.integers(1, 12))
def test_also_with_chunks_the_acknowledged_records_of_a_group_are_a_prefix(cases, concurrency, chunk_size):
    """A chunk has records of one group, whose outcomes depend on no other group."""
    handler = Handler(cases)
    consumer = fanfold.consumer(concurrency=concurrency, chunk_size=chunk_size, dead_letter_queue_url="dead")
    queue = run(cases, consumer(handler.several))
    acknowledged, _ = expected(cases)
    assert set(queue.deleted) == {f"m-{number}" for number in acknowledged}
