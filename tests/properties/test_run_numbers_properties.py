"""Under any mix of failures, duplicates and killed deliveries, the numbers of a run equal those of a log."""

import os
from collections import Counter
from dataclasses import dataclass, field
from unittest import mock

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import Job, Ranges
from fanfold._base.dead_letter import ATTRIBUTE, PUT_BACK_ATTRIBUTE, RECEIVES_VARIABLE
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._jobs.segment import segments_of
from fanfold._ports.run import RunState
from fanfold.inmemory import QueuedMessage
from fanfold.testing import make_context
from harness import Bench
from mapped import event_of

RECEIVES = 3
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "deliver", "kill before", "kill after", "duplicate", "dead", "wait"]),
        st.integers(1, 5),
    ),
    max_size=25,
)


@dataclass
class Log:
    """The events of a run, as the handlers and the queue see them."""

    highest: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    """Segments of each message, and its highest receive count in a delivery that was not killed before."""
    failures: int = 0
    ends: Counter[int] = field(default_factory=Counter)

    def deliveries(self) -> Counter[int]:
        counts: Counter[int] = Counter()
        for segments, count in self.highest.values():
            counts.update(dict.fromkeys(segments, count))
        return counts

    @property
    def retries(self) -> int:
        return sum(count - 1 - max(0, self.ends[segment] - 1) for segment, count in self.deliveries().items())


class Trial:
    """A run whose segments fail a number of times each, or always."""

    def __init__(self, failures: list[int], per_message: int) -> None:
        self.log = Log()
        self.left = dict(enumerate(failures))
        job = Job("numbers", tolerated_failures=len(failures), segments_per_message=per_message)
        job.source(lambda params: Ranges(len(failures), size=1))

        @job.segment
        async def segment(rows, ctx) -> int:
            number = ctx.segment.number
            if self.left[number]:
                self.left[number] -= 1
                self.log.failures += 1
                raise ValueError(f"segment {number} is broken")
            self.log.ends[number] += 1
            return number

        job.fold(list)
        self.bench = Bench(job, max_receive_count=RECEIVES)
        self.work = self.bench.plain.work_queue
        self.is_certain = True
        self.moved: dict[str, tuple[tuple[int, ...], int]] = {}

    async def step(self, kind: str, most: int) -> None:
        if kind == "duplicate":
            if messages := [queued.message for queued in self.work.messages()]:
                self.is_certain = False
                await self.work.send([messages[most % len(messages)]])
        elif kind == "dead":
            await self.handle_dead_letters()
        elif kind == "wait":
            self.bench.clock.advance(31)
        elif kind == "deliver":
            await self.deliver(most)
        else:
            received = await self.work.receive(max_messages=most)
            if kind == "kill after" and received:
                self.is_certain = False
                await self.handle(received)

    async def deliver(self, most: int) -> int:
        received = await self.work.receive(max_messages=most)
        if received:
            failed = await self.handle(received)
            for queued in received:
                if queued.message_id not in failed:
                    await self.work.delete([queued.receipt_handle])
        return len(received)

    async def handle_dead_letters(self, most: int = 10) -> int:
        dead_letters = self.work.dead_letter_queue
        if (await self.bench.run()).state == RunState.RUNNING:
            for queued in dead_letters.messages():
                if ATTRIBUTE not in queued.attributes:  # moved by the redrive policy, after as many receives
                    segments = tuple(segment.number for segment in segments_of(queued.body))
                    moved = self.log.highest if PUT_BACK_ATTRIBUTE in queued.attributes else self.moved
                    moved[queued.message_id] = (segments, RECEIVES)
        return await self.bench.pump(dead_letters, self.bench.job.dead_letter_handler, most)

    def learn(self, segment: int) -> None:
        for message_id, (segments, count) in list(self.moved.items()):
            if segment in segments:
                others = tuple(other for other in segments if other != segment)
                self.moved[message_id] = (others, count)
                self.log.highest[f"{message_id} of {segment}"] = ((segment,), count)
                known, _ = self.log.highest.get(message_id, ((), 0))
                self.log.highest[message_id] = (tuple(other for other in known if other != segment), _)

    async def handle(self, received: list[QueuedMessage]) -> set[str]:
        if (await self.bench.run()).state == RunState.RUNNING:
            for queued in received:
                segments = tuple(segment.number for segment in segments_of(queued.body))
                self.log.highest[queued.message_id] = (segments, queued.receive_count)
                if PUT_BACK_ATTRIBUTE in queued.attributes:  # its attribute states the deliveries of what it replaces
                    self.learn(*segments)
        response = await self.bench.job.segment_handler.handle_batch(event_of(received), make_context(900))
        return {failure["itemIdentifier"] for failure in response["batchItemFailures"]}

    async def details(self) -> RunDetails:
        return await read_details(await self.bench.run(), self.bench.plain)

    async def settle(self) -> None:
        fold = self.bench.plain.fold_queue
        for _ in range(200):
            delivered = await self.deliver(5)
            delivered += await self.handle_dead_letters()
            delivered += await self.bench.pump(fold, self.bench.job.fold_handler)
            if (await self.bench.run()).ended:
                return
            if not delivered:
                self.bench.clock.advance(31)
        raise AssertionError("the run has not ended")


@given(failures=st.lists(st.integers(0, 5), min_size=1, max_size=6), per_message=st.integers(1, 3), steps=STEPS)
@settings(deadline=None)
def test_the_numbers_of_a_run_equal_those_of_a_log(failures, per_message, steps):
    """Failed attempts at any time; deliveries and retries exactly, or as a lower bound, after the end."""

    async def trial() -> None:
        run = Trial(failures, per_message)
        await run.bench.job.start(run.bench.backend, {}, "run")
        for kind, most in steps:
            await run.step(kind, most)
            details = await run.details()
            assert details.failed_attempts == run.log.failures
            assert details.deliveries <= run.log.deliveries().total()
        await run.settle()
        details = await run.details()
        expected = run.log.deliveries()
        assert details.failed_attempts == run.log.failures
        assert details.done + details.failed == details.total == len(failures)
        assert details.is_exact or not run.is_certain
        if details.is_exact:
            assert details.deliveries == expected.total()
            assert details.retries == run.log.retries
            assert {end.segment: end.attempts for end in details.ends()} == dict(expected)
        else:
            assert details.deliveries <= expected.total()

    # As in a deployed function: a failure at the last receive is sent to the dead-letter queue with its reason.
    with mock.patch.dict(os.environ, {RECEIVES_VARIABLE: str(RECEIVES)}):
        anyio.run(trial)
