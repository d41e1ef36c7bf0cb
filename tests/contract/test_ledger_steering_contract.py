"""Contract of a ledger: cancelled runs, and the list of runs."""

from dataclasses import replace

import anyio
import pytest

from fanfold._ports.run import RunState
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import config_of
from fanfold.errors import ConfigurationError, FenceLostError, LedgerError
from ledgers import RUN, dynamodb_ledger


async def test_a_running_run_is_cancelled_and_nothing_else_of_it_changes(ledger):
    """A repeated cancel has no effect, and keeps the time of the first."""
    await ledger.open_run(RUN)
    assert await ledger.cancel("run-1", gen=0, ended_at=1030.5) is True
    cancelled = replace(RUN, state=RunState.CANCELLED, ended_at=1030.5)
    assert await ledger.run("run-1") == cancelled
    assert cancelled.ended
    assert await ledger.cancel("run-1", gen=0, ended_at=2000.0) is True
    assert await ledger.run("run-1") == cancelled


async def test_a_cancelled_run_is_not_planned_scattered_claimed_or_ended(ledger, fence):
    """Each step that was in progress learns that it has to stop."""
    assert await ledger.cancel("run-1", gen=0, ended_at=1030.5)
    cancelled = await ledger.run("run-1")
    assert await ledger.replan("run-1", {"type": "items"}, step=2) is False
    assert await ledger.checkpoint("run-1", 10) is False
    assert await ledger.claim("run-1", now=9000.0, lease_seconds=60.0) is None
    await ledger.release("run-1", fence=fence)
    with pytest.raises(FenceLostError):
        await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="o", ended_at=1031.0, failed=0)
    assert await ledger.run("run-1") == cancelled


async def test_a_checkpoint_of_a_running_run_lets_the_scatter_continue(ledger):
    """Even if another scatter of the same run is ahead."""
    await ledger.open_run(RUN)
    assert [await ledger.checkpoint("run-1", position) for position in [10, 5, 20]] == [True, True, True]
    assert await ledger.checkpoint("run-1", 30, gen=1) is False


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED])
async def test_a_run_that_has_ended_is_not_cancelled(ledger, fence, state):
    """Its end state and its output stay."""
    await ledger.finish("run-1", fence=fence, state=state, output="runs/o", ended_at=1030.5, failed=0)
    ended = await ledger.run("run-1")
    assert await ledger.cancel("run-1", gen=0, ended_at=1031.0) is False
    assert await ledger.run("run-1") == ended


async def test_a_cancelled_run_can_be_redriven_and_then_an_old_cancel_has_no_effect(ledger):
    """The new generation is RUNNING; a cancel of the old one is refused."""
    await ledger.open_run(RUN)
    await ledger.cancel("run-1", gen=0, ended_at=1030.5)
    assert await ledger.redrive("run-1", gen=1, redos=["runs/redo"], redo=3)
    assert await ledger.cancel("run-1", gen=0, ended_at=1031.0) is False
    assert await ledger.run("run-1") == replace(RUN, gen=1, redos=("runs/redo",), redo=3)
    assert await ledger.cancel("run-1", gen=1, ended_at=1032.0) is True


async def test_of_a_concurrent_cancel_and_end_exactly_one_counts(ledger, fence):
    """The other is refused."""
    results: dict[str, bool] = {}

    async def cancel() -> None:
        results["cancel"] = await ledger.cancel("run-1", gen=0, ended_at=1030.0)

    async def finish() -> None:
        try:
            await ledger.finish("run-1", fence=fence, state=RunState.SUCCEEDED, output="o", ended_at=1030.0, failed=0)
        except FenceLostError:
            results["finish"] = False
        else:
            results["finish"] = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finish)
        tasks.start_soon(cancel)
    run = await ledger.run("run-1")
    assert results["cancel"] is not results["finish"]
    assert (run.state, run.output) == ((RunState.CANCELLED, None) if results["cancel"] else (RunState.SUCCEEDED, "o"))


async def test_a_run_that_is_not_in_the_ledger_cannot_be_cancelled(ledger):
    """The error names the run, and no run is created."""
    with pytest.raises(LedgerError, match="run 'run-9' is not in the ledger"):
        await ledger.cancel("run-9", gen=0, ended_at=1.0)
    assert await ledger.run("run-9") is None


async def listed(ledger, limit: int, state: RunState | None = None) -> list[list[str]]:
    """Return the ids of the runs on each page."""
    pages, after = [], None
    while True:
        page = await ledger.runs(state=state, limit=limit, after=after)
        pages.append([run.id for run in page.runs])
        if not page.has_more:
            return pages
        after = page.runs[-1].place


async def test_runs_are_listed_newest_first_in_pages_and_by_state(ledger):
    """Each run is on one page, also if several were created at the same time."""
    for number, created_at in enumerate([5.0, 5.0, 7.5, 1.25, 5.0, 6.0]):
        await ledger.open_run(replace(RUN, id=f"r{number}", created_at=created_at))
    await ledger.cancel("r2", gen=0, ended_at=8.0)
    fence = await ledger.claim("r3", now=0.0, lease_seconds=60.0)
    await ledger.finish("r3", fence=fence, state=RunState.FAILED, output="o", ended_at=9.0, failed=4)
    newest_first = ["r2", "r5", "r4", "r1", "r0", "r3"]
    for limit in (1, 2, 4, 6, 100):
        pages = await listed(ledger, limit)
        assert [run for page in pages for run in page] == newest_first
        assert all(len(page) == limit for page in pages[:-1])
    assert await listed(ledger, 2, RunState.RUNNING) == [["r5", "r4"], ["r1", "r0"]]
    (failed,) = (await ledger.runs(state=RunState.FAILED, limit=9)).runs
    assert (failed.id, failed.job, failed.state, failed.gen) == ("r3", "delays", "FAILED", 0)
    assert (failed.created_at, failed.ended_at, failed.failed) == (1.25, 9.0, 4)
    assert (await ledger.runs(state=RunState.SUCCEEDED, limit=9)).runs == []


async def test_only_runs_are_listed(ledger):
    """Neither counters nor markers are, and a ledger without runs has an empty list."""
    await ledger.count("run-1", 3)
    assert await listed(ledger, 10) == [[]]


@pytest.mark.stack
async def test_a_table_of_an_earlier_release_is_one_clear_error(aws: LocalStack, raw_session):
    """It names the table, the index, and the fix; all else works."""
    async with raw_session.create_client("dynamodb", verify=False, config=config_of("dynamodb")) as client:
        ledger = await dynamodb_ledger(client, lists_runs=False)
        await ledger.open_run(RUN)
        with pytest.raises(
            ConfigurationError, match=r"table ledger-.* has no index runs-by-state.*deploy fanfold's te"
        ):
            await ledger.runs(limit=10)
        assert await ledger.cancel("run-1", gen=0, ended_at=1.0)
