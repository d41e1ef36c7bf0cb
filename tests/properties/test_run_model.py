"""Under any sequence of failures and redrives, a run ends in the state that a reference model predicts.

The model knows which segments are broken. The rules deliver messages in any order and twice, fail writes before or
after they take effect, check at any time, let leases expire, and interrupt redrives. Each generation has one output.
"""

import json
from contextlib import suppress
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from failing import throttled
from fanfold import Job, Ranges
from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.redrive import redrive
from fanfold._ports.run import RunState
from fanfold.errors import FanfoldError
from harness import Bench


class RunMachine(RuleBasedStateMachine):
    """One run, and the events that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[int] = set()
        self.total = 0
        self.fails_in: int | None = None
        self.outputs: dict[str, bytes] = {}

    @initialize(total=st.integers(0, 9), broken=st.sets(st.integers(0, 8), max_size=3), dies_at=st.integers(0, 40))
    def start(self, total: int, broken: set[int], dies_at: int) -> None:
        self.total, self.broken = total, {number for number in broken if number < total}
        job = Job("job", watch_seconds=60)
        job.source(lambda params: Ranges(total, size=1))

        @job.segment
        async def segment(rows: Any, ctx: Any) -> int:
            if ctx.segment.number in self.broken:
                raise ValueError("broken")
            return [row async for row in rows][0]  # noqa: RUF015 - an async iterator

        job.fold(list)
        self.bench = Bench(job, gate=self._gate, max_receive_count=3)
        self.fails_in = dies_at
        self._scatter()

    def _gate(self, operation: str) -> None:
        if self.fails_in is not None:
            if self.fails_in == 0:
                self.fails_in = None
                raise throttled()
            self.fails_in -= 1

    def _scatter(self) -> None:
        async def start() -> None:
            for _ in range(5):
                with suppress(FanfoldError, BaseExceptionGroup):
                    await self.bench.job.start(self.bench.backend, {}, "run")
                    return

        anyio.run(start)

    def _pump(self, name: str, max_messages: int) -> None:
        work = self.bench.plain.work_queue
        queue, handler = {
            "work": (work, self.bench.job.segment_handler),
            "dead": (work.dead_letter_queue, self.bench.job.dead_letter_handler),
            "fold": (self.bench.plain.fold_queue, self.bench.job.fold_handler),
        }[name]
        anyio.run(self.bench.pump, queue, handler, max_messages)

    @rule(name=st.sampled_from(["work", "work", "dead", "fold"]), max_messages=st.integers(1, 5))
    def deliver(self, name: str, max_messages: int) -> None:
        self._pump(name, max_messages)

    @rule(name=st.sampled_from(["work", "dead", "fold"]), calls=st.integers(0, 12))
    def deliver_with_a_fault(self, name: str, calls: int) -> None:
        self.fails_in = calls
        self._pump(name, 3)
        self.fails_in = None

    @rule(index=st.integers(0, 20))
    def deliver_twice(self, index: int) -> None:
        """Duplicate a message of the work queue, as in a redelivery while the first delivery is being processed."""
        queue = self.bench.plain.work_queue
        if messages := [queued.message for queued in queue.messages()]:
            anyio.run(queue.send, [messages[index % len(messages)]])

    @rule()
    def check_too_early(self) -> None:
        anyio.run(send_request, self.bench.plain, CheckRun("run"))

    @rule(seconds=st.sampled_from([1, 31, 1_000]))
    def let_time_pass(self, seconds: int) -> None:
        self.bench.clock.advance(seconds)

    @rule()
    def start_again(self) -> None:
        """Start the same run with the same request id, as when Lambda retries an invocation."""
        self._scatter()

    @precondition(lambda self: self.broken)
    @rule(fix=st.integers(0, 20), calls=st.none() | st.integers(0, 9))
    def fix_one_and_redrive(self, fix: int, calls: int | None) -> None:
        run = self._run()
        if run is None or not run.ended:
            return
        self.broken.discard(sorted(self.broken)[fix % len(self.broken)])
        self.fails_in = calls
        with suppress(FanfoldError, BaseExceptionGroup):
            anyio.run(redrive, "run", self.bench.backend)
        self.fails_in = None

    def _run(self) -> Any:
        return anyio.run(self.bench.ledger.run, "run")

    @invariant()
    def an_output_never_changes(self) -> None:
        """Each generation has one immutable output."""
        store = self.bench.plain.store if hasattr(self, "bench") else None
        if store is None:
            return
        outputs = {
            key: bytes(stored.data)
            for key, stored in store._buckets["results"].items()
            if key.endswith(("output.json", "failures.json"))
        }
        for key, data in self.outputs.items():
            assert outputs[key] == data, key
        self.outputs = outputs

    def teardown(self) -> None:
        """Without more faults, every run ends in the predicted state."""
        if not hasattr(self, "bench"):
            return
        self.fails_in = None
        if self._run() is None:
            self._scatter()
        anyio.run(self.bench.settle)
        run = self._run()
        assert run.ended, run
        if run.state == RunState.SUCCEEDED:
            output = json.loads(anyio.run(self.bench.plain.get_result, run.output))
            assert output == list(range(self.total))
            return
        assert run.state == RunState.FAILED
        failed = {int(n) for n in json.loads(anyio.run(self.bench.plain.get_result, run.output))["segments"]}
        assert failed
        assert failed >= self.broken  # a segment that has been fixed since was not redriven
        for _ in range(3):  # fixed and redriven, the run succeeds
            self.broken.clear()
            with suppress(FanfoldError):
                anyio.run(redrive, "run", self.bench.plain)
            anyio.run(self.bench.settle)
        run = self._run()
        assert run.state == RunState.SUCCEEDED
        assert json.loads(anyio.run(self.bench.plain.get_result, run.output)) == list(range(self.total))


# Slow: each of its examples is up to thirty steps, and after each step the whole run is compared with the model.
RunMachine.TestCase.settings = settings(stateful_step_count=30)
TestAnySequenceOfFailuresAndRedrives = RunMachine.TestCase
