"""A run that concurrent invocations combine has one result, even if any of them dies between two calls."""

import asyncio
import inspect
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from failing import throttled
from fanfold import Job, Ranges
from fanfold._jobs.fold_requests import WatchRun, send_request
from harness import Bench

HEALED = 300
"""Number of rounds with faults; after them, all calls succeed."""


class Restless:
    """A backend port that yields to other tasks around each call, and fails before or after some calls."""

    def __init__(self, port: Any, dice: random.Random, fault: float) -> None:
        self._port = port
        self._dice = dice
        self.fault = fault

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._port, name)
        if inspect.isasyncgenfunction(operation):

            async def yielding(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                await self._turn()
                async for item in operation(*args, **kwargs):
                    yield item

            return yielding

        async def called(*args: Any, **kwargs: Any) -> Any:
            await self._turn()
            result = await operation(*args, **kwargs)
            await self._turn()
            return result

        return called if inspect.iscoroutinefunction(operation) else operation

    async def _turn(self) -> None:
        for _ in range(self._dice.choice([0, 0, 1, 3])):
            await asyncio.sleep(0)
        if self._dice.random() < self.fault:
            raise throttled()


def joining(segments: int, fan_in: int, per_message: int, *, on_threads: bool) -> Job:
    """Return a job whose segments have two numbers each, and whose output is all numbers in order."""
    job = Job("join", fan_in=fan_in, segments_per_message=per_message, watch_seconds=60)
    job.source(lambda params: Ranges(2 * segments, size=2))

    @job.segment
    async def collect(rows, ctx) -> list[int]:
        return [number async for number in rows]

    def joined(results) -> list[int]:
        return [number for result in results for number in result]

    async def joined_on_loop(results) -> list[int]:
        await asyncio.sleep(0)
        return joined(results)

    job.combine(joined if on_threads else joined_on_loop)
    job.fold(joined if on_threads else joined_on_loop)
    return job


class Trial:
    """One run, and the invocations that process it."""

    def __init__(self, job: Job, dice: random.Random) -> None:
        self.dice = dice
        self.bench = Bench(job, max_receive_count=10_000)  # no message is dead-lettered
        plain, fault = self.bench.plain, dice.choice([0, 0.01, 0.05])
        names = ("ledger", "store", "work_queue", "fold_queue")
        self.ports = {name: Restless(getattr(plain, name), dice, fault) for name in names}
        self.bench.backend = replace(plain, **self.ports)
        self.pairs = [
            (plain.work_queue, self.bench.job.segment_handler),
            (plain.fold_queue, self.bench.job.fold_handler),
            (plain.fold_queue, self.bench.job.fold_handler),
        ]
        self.outputs: dict[str, bytes] = {}

    async def start(self) -> None:
        for _ in range(100):
            with suppress(Exception):
                await self.bench.job.start(self.bench.backend, {}, "run")
                return
        raise AssertionError("not started")

    async def end(self) -> None:
        """Run concurrent invocations until no message is left and the run has ended."""
        for number in range(3_000):
            if number == HEALED:
                for port in self.ports.values():
                    port.fault = 0
            several = [self.dice.choice(self.pairs) for _ in range(self.dice.randint(1, 5))]
            worked = sum(await asyncio.gather(*(self._invoke(*pair, dies=number < HEALED) for pair in several)))
            if (await self.bench.run()).output:
                self._check_output((await self.bench.run()).output, await self.bench.output())
            if not worked and await self._is_over():
                return
        raise AssertionError("not ended")

    async def _invoke(self, queue: Any, handler: Any, *, dies: bool) -> int:
        invocation = asyncio.ensure_future(self.bench.pump(queue, handler, self.dice.choice([1, 2, 10])))
        if dies and self.dice.random() < 0.1:
            for _ in range(self.dice.randint(1, 60)):
                await asyncio.sleep(0)
            invocation.cancel()
        with suppress(asyncio.CancelledError):
            return await invocation
        return 1

    def _check_output(self, key: str | None, output: Any) -> None:
        text = json.dumps(output).encode()
        assert self.outputs.setdefault(str(key), text) == text, "the output has changed"

    async def _is_over(self) -> bool:
        seconds = min(queue.seconds_until_visible() for queue, _ in self.pairs)
        if seconds != float("inf"):
            self.bench.clock.advance(seconds)
        elif (await self.bench.run()).ended:
            return True
        else:  # the scatter may have died before it requested a watch
            await send_request(self.bench.plain, WatchRun("run"))
        return False


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(2, 4), st.sampled_from([1, 3]), st.booleans())
@settings(deadline=None, max_examples=60)
async def test_a_run_combined_by_invocations_that_die_has_one_result(
    seed: int, segments: int, fan_in: int, per_message: int, on_threads: bool
):
    """The output contains every result once and in order, and never changes after its commit."""
    trial = Trial(joining(segments, fan_in, per_message, on_threads=on_threads), random.Random(seed))
    await trial.start()
    await trial.end()
    assert (await trial.bench.run()).state == "SUCCEEDED"
    assert await trial.bench.output() == list(range(2 * segments))
    assert len(trial.outputs) == 1
