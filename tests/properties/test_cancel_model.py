"""Under any sequence of cancels, redrives, deliveries and faults, a run does what a reference model predicts.

The model knows one thing: which generation has been cancelled. While it is cancelled, no handler starts, no output is
written, and the run stays CANCELLED. After a redrive, every item is folded exactly once. The rules cancel between and
during deliveries, in handlers and in folds, and let segments stop and continue.
"""

import json
from contextlib import suppress
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from failing import throttled
from fanfold import Context, Deadline, Job, Ranges, Record
from fanfold._base.context import BatchContext
from fanfold._jobs.cancel import cancel, cancellable
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.job_state import JobState
from fanfold._jobs.redrive import redrive
from fanfold._jobs.segment_handler import process_message
from fanfold._ports.run import RunState
from fanfold.errors import FanfoldError
from fanfold.testing import ManualClock, make_record
from harness import Bench

SIZE = 4
CANCELS = st.sampled_from([None, None, "segment", "fold"])


class CancelMachine(RuleBasedStateMachine):
    """One run, and what may happen to it."""

    @initialize(
        total=st.integers(0, 20), broken=st.sets(st.integers(0, 4), max_size=1), dies_at=st.none() | st.integers(6, 12)
    )
    def start(self, total: int, broken: set[int], dies_at: int | None) -> None:
        self.total, self.broken = total, broken
        self.cancelled: int | None = None
        self.cancels_in: str | None = None
        self.fails_in: int | None = None
        self.starts = 0
        self.outputs: set[str] = set()
        job = Job("job", watch_seconds=60, concurrency=2)
        job.source(lambda params: Ranges(total, size=SIZE))
        job.segment(self._segment)
        job.fold(self._fold)
        self.bench = Bench(job, gate=self._gate)
        self.fails_in = dies_at
        with suppress(FanfoldError, BaseExceptionGroup):
            anyio.run(self.bench.job.start, self.bench.backend, {}, "run")
        self.fails_in = None

    async def _segment(self, rows: Any, ctx: Any) -> list[int]:
        self.starts += 1
        await self._cancel_in("segment")
        if ctx.segment.number in self.broken:
            raise ValueError("broken")
        numbers = []
        async for number in rows:
            numbers.append(number)
            if ctx.state is not None:
                ctx.state.advance(1)
        return numbers

    async def _fold(self, results: Any) -> list[int]:
        await self._cancel_in("fold")
        return [number for result in results for number in result]

    async def _cancel_in(self, step: str) -> None:
        if self.cancels_in == step:
            self.cancels_in = None
            await self._cancel(self.bench.plain)

    async def _cancel(self, backend: Any) -> None:
        run = await cancellable("run", backend)
        await cancel(run, backend)

    def _gate(self, operation: str) -> None:
        if self.fails_in is not None:
            self.fails_in -= 1
            if self.fails_in < 0:
                self.fails_in = None
                raise throttled()

    def _run(self) -> Any:
        return anyio.run(self.bench.ledger.run, "run")

    @rule(name=st.sampled_from(["work", "work", "dead", "fold", "fold"]), cancels_in=CANCELS, most=st.integers(1, 4))
    def deliver(self, name: str, cancels_in: str | None, most: int) -> None:
        work, starts, before = self.bench.plain.work_queue, self.starts, self.cancelled
        queue, handler = {
            "work": (work, self.bench.job.segment_handler),
            "dead": (work.dead_letter_queue, self.bench.job.dead_letter_handler),
            "fold": (self.bench.plain.fold_queue, self.bench.job.fold_handler),
        }[name]
        self.cancels_in = cancels_in
        anyio.run(self.bench.pump, queue, handler, most)
        self.cancels_in = None
        assert before is None or self.starts == starts

    @rule(cancels_in=CANCELS)
    def deliver_everything(self, cancels_in: str | None) -> None:
        starts, before = self.starts, self.cancelled
        self.cancels_in = cancels_in
        anyio.run(self.bench.settle)
        self.cancels_in = None
        assert self._run().ended
        assert before is None or self.starts == starts

    @rule(items=st.integers(1, SIZE), cancels_in=CANCELS)
    def deliver_and_stop(self, items: int, cancels_in: str | None) -> None:
        """Deliver one segment to an invocation that has time for some of its items only."""

        async def stop() -> None:
            backend, clock = self.bench.plain, ManualClock()
            received = await backend.work_queue.receive(max_messages=1)
            for message in received:
                batch = BatchContext(None, Deadline(clock() + items + 5, 5, clock), JobState(backend, clock))
                record = Record(make_record(message.body))
                with suppress(ValueError):
                    value = await process_message("job", self._segment, record, Context(record, batch), max_hops=12)
                    assert await commit_ended([(record, value)], batch) == {0}
                    await backend.work_queue.delete([message.receipt_handle])

        starts, before = self.starts, self.cancelled
        self.cancels_in = cancels_in
        anyio.run(stop)
        self.cancels_in = None
        assert before is None or self.starts == starts

    @rule(index=st.integers(0, 20))
    def deliver_twice(self, index: int) -> None:
        queue = self.bench.plain.work_queue
        if messages := [queued.message for queued in queue.messages()]:
            anyio.run(queue.send, [messages[index % len(messages)]])

    @rule(calls=st.none() | st.integers(0, 5))
    def cancel_it(self, calls: int | None) -> None:
        """With an interruption after some calls of AWS, or without: then the run is cancelled, or it has ended."""
        self.fails_in = calls
        try:
            anyio.run(self._cancel, self.bench.backend)
        except FanfoldError:
            assert calls is not None or self._run().state in {RunState.SUCCEEDED, RunState.FAILED}
        else:
            assert self._run().state == RunState.CANCELLED
        self.fails_in = None

    @rule(calls=st.none() | st.integers(0, 12))
    def redrive_it(self, calls: int | None) -> None:
        before, self.fails_in = self._run(), calls
        try:
            anyio.run(redrive, "run", self.bench.backend)
        except (FanfoldError, BaseExceptionGroup):
            assert calls is not None or before.state != RunState.CANCELLED
        else:
            assert before.ended or not before.enqueued
        self.fails_in = None
        if self._run().gen > before.gen:
            self.cancelled = None

    @rule(seconds=st.sampled_from([1, 31, 1_000]))
    def let_time_pass(self, seconds: int) -> None:
        self.bench.clock.advance(seconds)

    @invariant()
    def a_cancelled_generation_stays_cancelled_without_an_output(self) -> None:
        if not hasattr(self, "bench"):
            return
        run = self._run()
        outputs = {key for key in self.bench.plain.store._buckets["results"] if key.endswith("/output.json")}
        if self.cancelled == run.gen:
            assert (run.state, run.output) == (RunState.CANCELLED, None)
            assert outputs == self.outputs
        self.outputs = outputs
        self.cancelled = run.gen if run.state == RunState.CANCELLED else None

    def teardown(self) -> None:
        """A cancelled run costs no work, and a redrive of it ends with every item."""
        if not hasattr(self, "bench"):
            return
        starts, was_cancelled = self.starts, self.cancelled is not None
        anyio.run(self.bench.settle)
        run = self._run()
        assert run.ended
        if was_cancelled:
            assert (run.state, self.starts) == (RunState.CANCELLED, starts)
        self.broken.clear()
        if run.state != RunState.SUCCEEDED:
            anyio.run(redrive, "run", self.bench.plain)
            anyio.run(self.bench.settle)
        run = self._run()
        assert run.state == RunState.SUCCEEDED
        assert json.loads(anyio.run(self.bench.plain.get_result, run.output)) == list(range(self.total))


# Slow: each of its examples is up to thirty steps, and after each step the run is compared with the model.
CancelMachine.TestCase.settings = settings(stateful_step_count=30)
TestAnySequenceOfCancelsAndRedrives = CancelMachine.TestCase
