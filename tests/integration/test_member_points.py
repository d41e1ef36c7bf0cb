"""System 5: members in S3, a bonus for each, and one Excel sheet; everything on this machine, with ``make``."""

import importlib.util
import json
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from depth import by_depth
from fanfold import inmemory
from fanfold._jobs.inline import run_inline
from idempotent import opening
from systems.member_points import EXAMPLE, expected, generated, make, members_of, rows_of


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"member_points_{name}", EXAMPLE / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


# Slow: runs the example's Makefile: a new emulator, a deployment, and a run, each in a new process.
@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.parametrize(
    ("road", "count"), [("queue", by_depth(60, 1_000)), pytest.param("machine", 40, marks=pytest.mark.deep)]
)
def test_make_ends_with_the_sheet_of_all_members_in_order(road: str, count: int, tmp_path: Path):
    """``make`` starts a local AWS, deploys, generates members, runs, and exports; it fails if any step fails."""
    file = tmp_path / "members.xlsx"
    make(road, count, file)
    rows = rows_of(file)
    assert rows == expected(members_of(count))
    readme = [line for line in (EXAMPLE / "README.md").read_text().splitlines() if line.startswith("| 0")]
    assert [f"| {' | '.join(map(str, row))} |" for row in rows[1:4]] == readme


def test_the_first_three_members_get_their_bonus():
    """Rank 4 with 58 points gets 72.5; rank 2 with 75 and 57 points gets the same number."""
    bonus = module("app").bonus
    assert [bonus(member) for member in members_of(3)] == [72.5, 75, 57]


def test_the_bonus_is_exact():
    """For every valid rank and number of points."""
    bonus = module("app").bonus
    for rank in range(1, 6):
        for points in range(50, 101):
            exact = Decimal(points) * (Decimal("1.25") if rank > 3 else 1)
            assert Decimal(bonus({"会員ランク": rank, "ポイント": points})) == exact


def test_any_number_of_members_is_generated_and_the_same_ones_for_the_same_seed():
    """They have every rank and 50 to 100 points; another seed generates others."""
    thousand = json.loads(generated())
    assert [member["会員番号"] for member in thousand] == [f"{number:03}" for number in range(1_000)]
    assert {member["会員ランク"] for member in thousand} == {1, 2, 3, 4, 5}
    assert {member["ポイント"] for member in thousand} == set(range(50, 101))
    assert generated() == generated("1000", "--seed", "1") != generated("1000", "--seed", "2")
    assert json.loads(generated("0")) == []


async def run_here(members: list[dict[str, Any]], folder: Path):
    """Run the example in this process over these members."""
    backend = inmemory.backend()
    await backend.store.put(backend.results_bucket, "members.json", json.dumps(members).encode())
    job = module("app").job.with_changes(backend=opening(backend))
    return await run_inline(job, {"bucket": backend.results_bucket, "key": "members.json"}, run="here", folder=folder)


@pytest.mark.parametrize("wrong", [{"会員ランク": 6}, {"会員ランク": True}, {"ポイント": 57.5}, {"ポイント": None}])
async def test_an_invalid_member_fails_the_run_and_is_named(wrong: dict[str, Any], tmp_path: Path):
    """Only its segment fails; the others are done."""
    members = members_of(30)
    members[17] |= wrong
    ended = await run_here(members, tmp_path)
    assert (ended.done, list(ended.failed)) == (2, [1])
    assert "'017'" in ended.failed[1]


async def test_without_members_the_sheet_has_only_its_header(tmp_path: Path):
    """The run succeeds."""
    ended = await run_here([], tmp_path)
    assert rows_of(Path(ended.output["file"])) == expected([])
