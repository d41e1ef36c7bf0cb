"""A whole job of fanfold in the simulated cloud: scattered, worked on, folded, and redriven until it is whole."""

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
MOST_SECONDS: Final = 7 * 86_400.0
"""Simulated time in which the queues have to be empty."""
LOOK_SECONDS, MOST_LOOKS = 6 * 3_600.0, 28
"""How often somebody looks after a run that has not ended, and how often at most: for a week."""
MOST_GENERATIONS: Final = 12


@dataclass(slots=True)
class Ended:
    """How a trial of fanfold ended."""

    problems: list[str] = field(default_factory=list)
    """What was not as promised; empty for one exact answer."""
    injected: Counter[str] = field(default_factory=Counter)
    """Faults, by kind."""
    generations: int = 0
    """Generations of the run, from 1."""
    seconds: float = 0.0
    """Simulated time it took."""
    duplicates: int = 0
    """Segments that ended more than once."""
    rescues: int = 0
    """How often the run stood still until somebody moved checks back that had been received too often."""


def job_of(given: Input) -> Job:
    """Return the job: sums and counts of the numbers of each segment, added up."""
    job = Job("chaos", concurrency=1, watch_seconds=WATCH_SECONDS)

    @job.source
    def numbers(_params: dict[str, Any]) -> S3Lines:
        return S3Lines(BUCKET, KEY, chunk_bytes=given.lines * LINE_BYTES)

    @job.segment
    async def add(rows: Any, ctx: Any) -> list[int]:
        found = [row async for row in rows]
        match given.broken.get(ctx.segment.number):
            case "raises":
                raise ValueError("broken")
            case "rejects":
                raise Reject("broken")
        return [sum(found), len(found)]

    @job.fold
    async def total(results: Any) -> dict[str, Any]:
        parts = [part async for part in results]
        return {"total": sum(part[0] for part in parts), "rows": sum(part[1] for part in parts)}

    return job


class Trial:
    """One run, and those who start it and look after it."""

    def __init__(self, cloud: Cloud, given: Input) -> None:
        self.cloud = cloud
        self.given = given
        self.job = job_of(given).with_changes(backend=cloud.open_backend)
        self.ended = Ended()
        cloud.plain.store.fill(BUCKET, {KEY: given.data})  # type: ignore[attr-defined] # it is one in memory

    async def run(self) -> Ended:
        """Run it to its end, and say how it ended."""
        cloud, job, began = self.cloud, self.job, self.cloud.clock()
        async with cloud.mapping(
            Mapped(cloud.work, self._function(job.segment_handler, cloud.work, dead_letters=True), 4),
            Mapped(cloud.dead, self._function(job.dead_letter_handler, cloud.dead), 2),
            Mapped(cloud.fold, self._function(job.fold_handler, cloud.fold), 3),
        ):
            await self._insist(lambda: job.start(cloud.backend, {}, RUN), self._is_started)
            while await self._generation_ended():
                run = await self._known()
                if run.state == RunState.SUCCEEDED or run.gen == MOST_GENERATIONS:
                    break
                await self._look_at_failures(run)
                self.given.broken.clear()  # mended
                await self._insist(lambda: redrive(RUN, cloud.backend), self._is_past(run.gen))
            if not await cloud.until(self._queues_are_empty, within_seconds=MOST_SECONDS):
                self.ended.problems.append("the queues were never empty")
        await self._look()
        self.ended.injected, self.ended.seconds = cloud.chance.injected, cloud.clock() - began
        return self.ended

    def _function(self, handler: Consumer[..., Any], queue: InMemoryQueue, *, dead_letters: bool = False) -> Function:
        consumer = handler.with_settings(
            settler=self.cloud.settler(queue), dead_letter_queue_url="dead letters" if dead_letters else ""
        )
        return lambda event: consumer.handle_batch(event, make_context(FUNCTION_SECONDS))

    async def _insist(self, act: Callable[[], Awaitable[Any]], enough: Callable[[], Awaitable[bool]]) -> None:
        """Do something until it succeeds, or until it is in the ledger and left, sometimes, to those who watch."""
        while isinstance(await self.cloud.invoke(act), Errored):
            if await enough() and self.cloud.chance.random.random() < 0.5:
                return

    async def _is_started(self) -> bool:
        return await self.cloud.plain.ledger.run(RUN) is not None and len(self.cloud.fold) > 0

    def _is_past(self, gen: int) -> Callable[[], Awaitable[bool]]:
        async def is_past() -> bool:
            return (await self._known()).gen > gen

        return is_past

    async def _generation_ended(self) -> bool:
        async def has_ended() -> bool:
            return (await self._known()).ended

        for _ in range(MOST_LOOKS):
            if await self.cloud.until(has_ended, within_seconds=LOOK_SECONDS):
                return True
            if not len(self.cloud.fold):
                self.ended.rescues += self.cloud.move_back() > 0
        self.ended.problems.append(f"the run never ended: {await self._known()}")
        return False

    async def _queues_are_empty(self) -> bool:
        return not (len(self.cloud.work) or len(self.cloud.dead) or len(self.cloud.fold))

    async def _known(self) -> Run:
        run = await self.cloud.plain.ledger.run(RUN)
        if run is None:
            raise FanfoldError("the run is not in the ledger")
        return run

    async def _look_at_failures(self, run: Run) -> None:
        """A generation failed: for those segments that are broken, and those received too often, and no other."""
        listed = json.loads(await self.cloud.plain.get_result(str(run.output))).get("segments", {})
        failed = {int(number): reason for number, reason in listed.items()}
        if not self.given.broken.keys() <= failed.keys():
            self.ended.problems.append(f"broken {sorted(self.given.broken)}, but failed only {failed}")
        for number, reason in failed.items():
            if number not in self.given.broken and not reason.startswith("moved to the dead-letter queue"):
                self.ended.problems.append(f"segment {number} failed without need: {reason}")

    async def _look(self) -> None:
        """Compare the end with what was promised."""
        run, cloud, say = await self._known(), self.cloud, self.ended.problems.append
        account = await read_report(cloud.plain, run)
        self.ended.generations = run.gen + 1
        self.ended.duplicates = account.duplicates
        if run.state != RunState.SUCCEEDED:
            say(f"the run is {run.state} in generation {run.gen}")
            return
        answer = json.loads(await cloud.plain.get_result(str(run.output)))
        if answer != self.given.answer():
            say(f"the answer is {answer}, not {self.given.answer()}")
        ends = [cloud.ledger.ends[RUN, gen] for gen in range(run.gen + 1)]
        if ends != [1] * (run.gen + 1):
            say(f"the generations ended {ends} times")
        written = Counter(key.rpartition("/")[0] for _, key, _ in cloud.store.written if key.endswith("output.json"))
        if written != {f"runs/{RUN}/{run.gen}": 1}:
            say(f"outputs were written under {dict(written)}")
        whole = (account.segments, account.done, account.missing, dict(account.failed))
        if whole != (self.given.segments, self.given.segments, 0, {}):
            say(f"the account says {account}")
        if account.evenness is None or account.evenness.items != len(self.given.numbers):
            say(f"the account counts {account.evenness}")


async def fanfold_trial(cloud: Cloud, seed: int) -> Ended:
    """Run a job, with the input of a seed, in a cloud."""
    return await Trial(cloud, Input.drawn(seed)).run()
