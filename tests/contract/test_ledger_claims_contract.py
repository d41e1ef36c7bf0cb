"""What a ledger promises of claims to a fold, and of how a run ends, begins anew and is redriven."""

from dataclasses import replace

import anyio
import pytest

from fanfold._ports.run import RunState
from fanfold.errors import FenceLostError, LedgerError
from ledgers import RUN


async def test_a_claim_takes_the_fold_of_a_running_run(ledger):
    """The first claim gets the first fence, and the run is being folded until the lease is over."""
    await ledger.open_run(RUN)
    assert await ledger.claim("run-1", now=1000.5, lease_seconds=60.25) == 1
    assert await ledger.run("run-1") == replace(RUN, state=RunState.FOLDING, fence=1, lease_until=1060.75)


async def test_a_fold_that_is_claimed_is_not_claimed_again(ledger, fence):
    """Within the lease nobody else gets the fold, and the claim stays as it is."""
    assert await ledger.claim("run-1", now=1059.0, lease_seconds=60.0) is None
    assert (await ledger.run("run-1")).lease_until == 1060.0


async def test_of_many_claims_one_gets_the_fold(ledger):
    """When ten claim a run at the same time, one gets a fence."""
    await ledger.open_run(RUN)
    fences: list[int | None] = []

    async def claim() -> None:
        fences.append(await ledger.claim("run-1", now=1000.0, lease_seconds=60.0))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(claim)
    assert [fence for fence in fences if fence is not None] == [1]


async def test_a_lease_that_is_over_is_taken_over(ledger, fence):
    """After the lease another claim gets the fold, a higher fence and a lease of its own."""
    assert await ledger.claim("run-1", now=1061.0, lease_seconds=30.0) == 2
    assert await ledger.run("run-1") == replace(RUN, state=RunState.FOLDING, fence=2, lease_until=1091.0)


async def test_a_claim_that_is_released_can_be_claimed_at_once(ledger, fence):
    """Who gives the fold back need not be waited for; the next claim gets a higher fence."""
    await ledger.release("run-1", fence=fence)
    released = await ledger.run("run-1")
    assert (released.state, released.fence) == (RunState.FOLDING, 1)
    assert await ledger.claim("run-1", now=1001.0, lease_seconds=60.0) == 2


async def test_a_claim_that_was_lost_cannot_be_released(ledger, fence):
    """After a take-over the older fence releases nothing, and that is no error."""
    await ledger.claim("run-1", now=1061.0, lease_seconds=60.0)
    await ledger.release("run-1", fence=fence)
    assert await ledger.run("run-1") == replace(RUN, state=RunState.FOLDING, fence=2, lease_until=1121.0)


async def test_a_release_after_the_end_changes_nothing(ledger, fence):
    """A run that has ended stays as it is when its claim is released."""
    await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    ended = await ledger.run("run-1")
    await ledger.release("run-1", fence=fence)
    assert await ledger.run("run-1") == ended


@pytest.mark.parametrize(("state", "failed"), [(RunState.SUCCEEDED, 0), (RunState.FAILED, 3)])
async def test_the_end_of_a_run_is_written_by_who_holds_the_fold(ledger, fence, state, failed):
    """The end state, the output, the time and the number of failures stand in the run, the rest as it was."""
    await ledger.finish("run-1", fence=fence, state=state, output="runs/o", ended_at=1030.5, failed=failed)
    ended = replace(RUN, state=state, output="runs/o", ended_at=1030.5, failed=failed, fence=1, lease_until=1060.0)
    assert await ledger.run("run-1") == ended
    assert ended.ended


async def test_a_run_that_has_ended_is_not_claimed(ledger, fence):
    """Once the end state is written, nobody gets the fold, even when the lease is long over."""
    await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    assert await ledger.claim("run-1", now=9000.0, lease_seconds=60.0) is None
    assert (await ledger.run("run-1")).state == RunState.SUCCEEDED


async def test_a_generation_that_is_over_is_not_claimed(ledger, fence):
    """Who looked at a run before it was redriven cannot take the fold of the generation that began since."""
    await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="runs/f", ended_at=1030.0, failed=1)
    assert await ledger.redrive("run-1", gen=1, redos=["runs/redo"], redo=1)
    assert await ledger.claim("run-1", now=9000.0, lease_seconds=60.0) is None
    assert (await ledger.run("run-1")).state == RunState.RUNNING
    assert await ledger.claim("run-1", gen=1, now=9000.0, lease_seconds=60.0) == 2


async def test_a_run_that_is_not_in_the_ledger_is_not_claimed(ledger):
    """A claim of an unknown run gets no fence and makes no run."""
    assert await ledger.claim("run-1", now=1000.0, lease_seconds=60.0) is None
    assert await ledger.run("run-1") is None


async def test_who_lost_the_fold_cannot_end_the_run(ledger, fence):
    """After a take-over the older fence is refused and the run stays with the younger, who can end it."""
    await ledger.claim("run-1", now=1061.0, lease_seconds=60.0)
    with pytest.raises(FenceLostError, match="run run-1: another invocation has taken over the fold"):
        await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="runs/old", ended_at=1062.0, failed=1)
    assert (await ledger.run("run-1")).state == RunState.FOLDING
    await ledger.finish("run-1", fence=2, state=RunState.SUCCEEDED, output="runs/new", ended_at=1063.0, failed=0)
    assert (await ledger.run("run-1")).output == "runs/new"


async def test_a_run_ends_once(ledger, fence):
    """An end state that is written stays, even against the one who wrote it."""
    await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    with pytest.raises(FenceLostError):
        await ledger.finish("run-1", fence=fence, state=RunState.FAILED, output="runs/f", ended_at=1031.0, failed=1)
    assert (await ledger.run("run-1")).state == RunState.SUCCEEDED


async def test_a_run_that_nobody_claimed_cannot_be_ended(ledger):
    """Without a claim there is no fence to end a run with."""
    await ledger.open_run(RUN)
    with pytest.raises(FenceLostError):
        await ledger.finish("run-1", fence=0, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    assert (await ledger.run("run-1")).state == RunState.RUNNING


async def test_a_run_that_is_not_in_the_ledger_cannot_be_ended(ledger):
    """Ending an unknown run is refused and makes no run."""
    with pytest.raises(LedgerError):
        await ledger.finish("run-1", fence=1, state=RunState.SUCCEEDED, output="runs/o", ended_at=1030.0, failed=0)
    assert await ledger.run("run-1") is None


async def test_a_generation_begins_once_and_only_when_the_one_before_has_ended(ledger):
    """All of it in one write; what the end had left is gone, and late notes of the old generation change nothing."""
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


async def test_a_run_that_is_not_there_cannot_be_redriven(ledger):
    """It is named."""
    with pytest.raises(LedgerError, match="run-9"):
        await ledger.redrive("run-9", gen=1, redos=["a"], redo=2)
