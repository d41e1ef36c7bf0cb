"""Contract of a ledger: claims to a fold, the end of a run, and redrives."""

from dataclasses import replace

import anyio
import pytest

from fanfold._ports.run import RunState
from fanfold.errors import FenceLostError, LedgerError
from ledgers import RUN


async def test_the_first_claim_starts_the_fold_of_a_running_run(ledger):
    """The claim gets fence 1 and a lease, and the run's state is FOLDING."""
    await ledger.open_run(RUN)
    assert await ledger.claim("run-1", now=1000.5, lease_seconds=60.25) == 1
    assert await ledger.run("run-1") == replace(RUN, state=RunState.FOLDING, fence=1, lease_until=1060.75)


async def test_a_claimed_fold_cannot_be_claimed_during_the_lease(ledger, fence):
    """A second claim fails, and leaves the lease unchanged."""
    assert await ledger.claim("run-1", now=1059.0, lease_seconds=60.0) is None
    assert (await ledger.run("run-1")).lease_until == 1060.0


async def test_of_concurrent_claims_one_succeeds(ledger):
    """Of ten concurrent claims, one gets a fence."""
    await ledger.open_run(RUN)
    fences: list[int | None] = []

    async def claim() -> None:
        fences.append(await ledger.claim("run-1", now=1000.0, lease_seconds=60.0))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(claim)
    assert [fence for fence in fences if fence is not None] == [1]


async def test_a_fold_can_be_claimed_after_its_lease(ledger, fence):
    """The next claim gets a higher fence and a new lease."""
    assert await ledger.claim("run-1", now=1061.0, lease_seconds=30.0) == 2
    assert await ledger.run("run-1") == replace(RUN, state=RunState.FOLDING, fence=2, lease_until=1091.0)


async def test_a_released_fold_can_be_claimed_immediately(ledger, fence):
    """The next claim gets a higher fence, without waiting for the lease to end."""
    await ledger.release("run-1", fence=fence)
    released = await ledger.run("run-1")
    assert (released.state, released.fence) == (RunState.FOLDING, 1)
    assert await ledger.claim("run-1", now=1001.0, lease_seconds=60.0) == 2


async def test_releasing_a_lost_claim_has_no_effect(ledger, fence):
    """A release with an old fence changes nothing and raises no error."""
    await ledger.claim("run-1", now=1061.0, lease_seconds=60.0)
    await ledger.release("run-1", fence=fence)
    assert await ledger.run("run-1") == replace(RUN, state=RunState.FOLDING, fence=2, lease_until=1121.0)


async def test_releasing_after_the_end_has_no_effect(ledger, fence):
    """A release does not change a run that has ended."""
    await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    ended = await ledger.run("run-1")
    await ledger.release("run-1", fence=fence)
    assert await ledger.run("run-1") == ended


@pytest.mark.parametrize(("state", "failed"), [(RunState.SUCCEEDED, 0), (RunState.FAILED, 3)])
async def test_the_holder_of_the_fence_ends_the_run(ledger, fence, state, failed):
    """``finish`` stores the state, the output, the time, and the number of failures, and changes nothing else."""
    await ledger.finish("run-1", fence=fence, state=state, output="runs/o", ended_at=1030.5, failed=failed)
    ended = replace(RUN, state=state, output="runs/o", ended_at=1030.5, failed=failed, fence=1, lease_until=1060.0)
    assert await ledger.run("run-1") == ended
    assert ended.ended


async def test_a_run_that_has_ended_cannot_be_claimed(ledger, fence):
    """A claim fails after the end, even long after the lease."""
    await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    assert await ledger.claim("run-1", now=9000.0, lease_seconds=60.0) is None
    assert (await ledger.run("run-1")).state == RunState.SUCCEEDED


async def test_an_earlier_generation_cannot_be_claimed(ledger, fence):
    """A claim with the generation from before a redrive fails; one with the current generation succeeds."""
    await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="runs/f", ended_at=1030.0, failed=1)
    assert await ledger.redrive("run-1", gen=1, redos=["runs/redo"], redo=1)
    assert await ledger.claim("run-1", now=9000.0, lease_seconds=60.0) is None
    assert (await ledger.run("run-1")).state == RunState.RUNNING
    assert await ledger.claim("run-1", gen=1, now=9000.0, lease_seconds=60.0) == 2


async def test_a_run_that_is_not_in_the_ledger_cannot_be_claimed(ledger):
    """A claim of an unknown run returns None and creates no run."""
    assert await ledger.claim("run-1", now=1000.0, lease_seconds=60.0) is None
    assert await ledger.run("run-1") is None


async def test_an_old_fence_cannot_end_the_run(ledger, fence):
    """After another claim, ``finish`` refuses the old fence and accepts the new one."""
    await ledger.claim("run-1", now=1061.0, lease_seconds=60.0)
    with pytest.raises(FenceLostError, match="run run-1: another invocation has taken over the fold"):
        await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="runs/old", ended_at=1062.0, failed=1)
    assert (await ledger.run("run-1")).state == RunState.FOLDING
    await ledger.finish("run-1", fence=2, state=RunState.SUCCEEDED, output="runs/new", ended_at=1063.0, failed=0)
    assert (await ledger.run("run-1")).output == "runs/new"


async def test_a_run_ends_only_once(ledger, fence):
    """A second ``finish`` is refused, even with the same fence."""
    await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    with pytest.raises(FenceLostError):
        await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="runs/f", ended_at=1031.0, failed=1)
    assert (await ledger.run("run-1")).state == RunState.SUCCEEDED


async def test_a_run_cannot_end_without_a_claim(ledger):
    """``finish`` refuses fence 0, and the run stays RUNNING."""
    await ledger.open_run(RUN)
    with pytest.raises(FenceLostError):
        await ledger.finish("run-1", fence=0, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    assert (await ledger.run("run-1")).state == RunState.RUNNING


async def test_a_run_that_is_not_in_the_ledger_cannot_end(ledger):
    """``finish`` refuses an unknown run and creates no run."""
    with pytest.raises(LedgerError):
        await ledger.finish("run-1", fence=1, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    assert await ledger.run("run-1") is None


async def test_a_generation_starts_once_and_only_after_the_previous_one_has_ended(ledger):
    """One write resets the run; later writes for the old generation have no effect."""
    await ledger.open_run(RUN)
    assert not await ledger.redrive("run-1", gen=1, redos=["a"], redo=2)
    await ledger.checkpoint("run-1", 40)
    fence = await ledger.claim("run-1", now=0, lease_seconds=60)
    assert not await ledger.redrive("run-1", gen=1, redos=["a"], redo=2)
    await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="out", ended_at=5.0, failed=2)
    await ledger.notified("run-1", gen=0)
    assert (await ledger.run("run-1")).notified
    assert not await ledger.redrive("run-1", gen=2, redos=["a", "b"], redo=2)
    assert await ledger.redrive("run-1", gen=1, redos=["a"], redo=2)
    assert not await ledger.redrive("run-1", gen=1, redos=["b"], redo=1)
    begun = await ledger.run("run-1")
    assert begun == replace(RUN, gen=1, redos=("a",), redo=2, fence=begun.fence, lease_until=begun.lease_until)
    await ledger.checkpoint("run-1", 7)
    await ledger.notified("run-1", gen=0)
    assert (await ledger.run("run-1")).position == 0
    assert not (await ledger.run("run-1")).notified
    await ledger.checkpoint("run-1", 1, gen=1)
    assert (await ledger.run("run-1")).position == 1
    assert not (await ledger.run("run-1")).enqueued


async def test_a_run_that_is_not_in_the_ledger_cannot_be_redriven(ledger):
    """The error names the run."""
    with pytest.raises(LedgerError, match="run-9"):
        await ledger.redrive("run-9", gen=1, redos=["a"], redo=2)
