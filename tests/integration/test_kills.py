"""Workers killed in the middle of a batch: one output is committed, and it is exact."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from deployment import Deployment

from fanfold.account import watch
from fanfold.aws.backend import connect
from fanfold.local.stack import local_stack
from fanfold.protocols import Backend

NUMBERS = b"".join(b"%d\n" % (number % 10) for number in range(1200))
TRIALS = 20
TOGETHER = 4


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The slow job, on an emulator of its own whose timeouts are short."""
    with local_stack() as stack:
        parameters = {"FunctionTimeout": "5", "MaxReceiveCount": "50", "HandlerModule": "app"}
        folder = Path(__file__).parent / "slow_job"
        deployed = Deployment(stack, "kills", folder, parameters, visibility_timeout=5)
        deployed.upload("input/numbers.jsonl", NUMBERS)
        yield deployed


@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found by their command lines in /proc")
async def test_workers_killed_at_random_points_leave_one_exact_output(deployment: Deployment):
    """SIGKILL in the middle of batches, 20 times over 20 runs, four at a time; the folds' workers are hit too."""
    chance = random.Random(2013)
    async with connect(deployment.variables, **deployment.client_settings) as backend:
        killed = 0
        for first in range(0, TRIALS, TOGETHER):
            runs = [f"kill-{number}" for number in range(first, first + TOGETHER)]
            for run in runs:
                assert deployment.scatter(run, key="input/numbers.jsonl", chunk_bytes=120)["segments"] == 20
            for _ in runs:
                await anyio.sleep(chance.uniform(0.2, 1.5))  # the point at which to strike, not a wait for anything
                killed += deployment.kill_workers(deployment.outputs["SegmentFunction"])
            killed += deployment.kill_workers(deployment.outputs["FoldFunction"])
            for run in runs:
                await _ended_exactly_once(deployment, backend, run)
        assert killed >= TRIALS


async def _ended_exactly_once(deployment: Deployment, backend: Backend, run: str) -> None:
    seen = [progress async for progress in watch(backend, run, within_seconds=120)]
    ended = await backend.ledger.run(run)
    assert seen[-1].state == "SUCCEEDED"
    assert await backend.get_result(ended.output) == b"5400"
    assert deployment.objects(f"runs/{run}/0/output") == [f"runs/{run}/0/output.json"]
