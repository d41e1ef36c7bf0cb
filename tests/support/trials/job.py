"""A whole job of fanfold in the simulated cloud: scatter, segments, fold, and redrives until all segments succeed."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fanfold import Job, Reject, S3Lines
from fanfold._consumer.consumer import Consumer
from fanfold._jobs.redrive import redrive
from fanfold._jobs.report import read_report
from fanfold._ports.run import Run, RunState
from fanfold._replay.mapping import Errored
from fanfold.errors import FanfoldError
from fanfold.inmemory.queue import InMemoryQueue
from fanfold.testing import make_context
from trials.cloud import FUNCTION_SECONDS, Cloud, Function, Mapped
from trials.inputs import BUCKET, KEY, LINE_BYTES, Input

RUN: Final = "run"
WATCH_SECONDS: Final = 60
MAX_SECONDS: Final = 7 * 86_400.0
"""Simulated seconds after which the queues must be empty."""
INTERVENTION_SECONDS, MAX_INTERVENTIONS = 6 * 3_600.0, 28
"""Interval and maximum number of redrives of a run that has not ended: for a week."""
MAX_GENERATIONS: Final = 12


@dataclass(slots=True)
class Ended:
    """How a trial of fanfold ended."""

    problems: list[str] = field(default_factory=list)
    """Violated promises; empty for one exact output."""
    injected: Counter[str] = field(default_factory=Counter)
    """Number of injected faults, by kind."""
    generations: int = 0
    """Generations of the run, from 1."""
    seconds: float = 0.0
    """Simulated duration."""
    duplicates: int = 0
    """Segments that ended more than once."""
    rescues: int = 0
    """How often the run was stuck until the dead letters of the fold queue were redriven."""


def job_of(case: Input) -> Job:
    """Return a job that computes the sum and the count of all numbers."""
    job = Job("chaos", concurrency=1, watch_seconds=WATCH_SECONDS)

    @job.source
    def numbers(_params: dict[str, Any]) -> S3Lines:
        return S3Lines(BUCKET, KEY, chunk_bytes=case.lines * LINE_BYTES)

    @job.segment
    async def add(rows: Any, ctx: Any) -> list[int]:
        numbers = [row async for row in rows]
        match case.broken.get(ctx.segment.number):
            case "raises":
                raise ValueError("broken")
            case "rejects":
                raise Reject("broken")
        return [sum(numbers), len(numbers)]

    @job.fold
    async def total(results: Any) -> dict[str, Any]:
        parts = [part async for part in results]
        return {"total": sum(part[0] for part in parts), "rows": sum(part[1] for part in parts)}

    return job


class Trial:
    """One run, with the operators who start and redrive it."""

    def __init__(self, cloud: Cloud, case: Input) -> None:
        self.cloud = cloud
        self.case = case
        self.job = job_of(case).with_changes(backend=cloud.open_backend)
        self.ended = Ended()
        cloud.plain.store.fill(BUCKET, {KEY: case.data})  # type: ignore[attr-defined] # an in-memory store

    async def run(self) -> Ended:
        """Run the job to its end; return the result."""
        cloud, job, began = self.cloud, self.job, self.cloud.clock()
        async with cloud.mapping(
            Mapped(cloud.work, self._function(job.segment_handler, cloud.work, dead_letters=True), 4),
            Mapped(cloud.dead, self._function(job.dead_letter_handler, cloud.dead), 2),
            Mapped(cloud.fold, self._function(job.fold_handler, cloud.fold), 3),
        ):
            await self._repeat(lambda: job.start(cloud.backend, {}, RUN), self._is_started)
            while await self._generation_ended():
                run = await self._existing_run()
                if run.state == RunState.SUCCEEDED or run.gen == MAX_GENERATIONS:
                    break
                await self._check_failures(run)
                self.case.broken.clear()  # the fix
                await self._repeat(lambda: redrive(RUN, cloud.backend), self._is_past(run.gen))
            if not await cloud.until(self._queues_are_empty, within_seconds=MAX_SECONDS):
                self.ended.problems.append("the queues were never empty")
        await self._check_end()
        self.ended.injected, self.ended.seconds = cloud.chance.injected, cloud.clock() - began
        return self.ended

    def _function(self, handler: Consumer[..., Any], queue: InMemoryQueue, *, dead_letters: bool = False) -> Function:
        consumer = handler.with_settings(
            settler=self.cloud.settler(queue), dead_letter_queue_url="dead letters" if dead_letters else ""
        )
        return lambda event: consumer.handle_batch(event, make_context(FUNCTION_SECONDS))

    async def _repeat(self, act: Callable[[], Awaitable[Any]], enough: Callable[[], Awaitable[bool]]) -> None:
        """Call ``act`` until it succeeds, or sometimes only until its effect is in the ledger."""
        while isinstance(await self.cloud.invoke(act), Errored):
            if await enough() and self.cloud.chance.random.random() < 0.5:
                return

    async def _is_started(self) -> bool:
        return await self.cloud.plain.ledger.run(RUN) is not None and len(self.cloud.fold) > 0

    def _is_past(self, gen: int) -> Callable[[], Awaitable[bool]]:
        async def is_past() -> bool:
            return (await self._existing_run()).gen > gen

        return is_past

    async def _generation_ended(self) -> bool:
        async def has_ended() -> bool:
            return (await self._existing_run()).ended

        for _ in range(MAX_INTERVENTIONS):
            if await self.cloud.until(has_ended, within_seconds=INTERVENTION_SECONDS):
                return True
            if not len(self.cloud.fold):
                self.ended.rescues += self.cloud.move_back() > 0
        self.ended.problems.append(f"the run never ended: {await self._existing_run()}")
        return False

    async def _queues_are_empty(self) -> bool:
        return not (len(self.cloud.work) or len(self.cloud.dead) or len(self.cloud.fold))

    async def _existing_run(self) -> Run:
        run = await self.cloud.plain.ledger.run(RUN)
        if run is None:
            raise FanfoldError("the run is not in the ledger")
        return run

    async def _check_failures(self, run: Run) -> None:
        """Check that only broken segments failed, and those that were received too often."""
        listed = json.loads(await self.cloud.plain.get_result(str(run.output))).get("segments", {})
        failed = {int(number): reason for number, reason in listed.items()}
        if not self.case.broken.keys() <= failed.keys():
            self.ended.problems.append(f"broken {sorted(self.case.broken)}, but failed only {failed}")
        for number, reason in failed.items():
            if number not in self.case.broken and not reason.startswith("moved to the dead-letter queue"):
                self.ended.problems.append(f"segment {number} failed unexpectedly: {reason}")

    async def _check_end(self) -> None:
        """Check the promises about the end of a run."""
        run, cloud, add_problem = await self._existing_run(), self.cloud, self.ended.problems.append
        run_report = await read_report(cloud.plain, run)
        self.ended.generations = run.gen + 1
        self.ended.duplicates = run_report.duplicates
        if run.state != RunState.SUCCEEDED:
            add_problem(f"the run is {run.state} in generation {run.gen}")
            return
        output = json.loads(await cloud.plain.get_result(str(run.output)))
        if output != self.case.expected():
            add_problem(f"the output is {output}, not {self.case.expected()}")
        ends = [cloud.ledger.ends[RUN, gen] for gen in range(run.gen + 1)]
        if ends != [1] * (run.gen + 1):
            add_problem(f"the generations ended {ends} times")
        written = Counter(key.rpartition("/")[0] for _, key, _ in cloud.store.written if key.endswith("output.json"))
        if written != {f"runs/{RUN}/{run.gen}": 1}:
            add_problem(f"outputs were written under {dict(written)}")
        counts = (run_report.segments, run_report.done, run_report.missing, dict(run_report.failed))
        if counts != (self.case.segments, self.case.segments, 0, {}):
            add_problem(f"the run report is {run_report}")
        if run_report.evenness is None or run_report.evenness.items != len(self.case.numbers):
            add_problem(f"the run report counts {run_report.evenness}")


async def fanfold_trial(cloud: Cloud, seed: int) -> Ended:
    """Run a job, with the input of a seed, in a cloud."""
    return await Trial(cloud, Input.from_seed(seed)).run()
