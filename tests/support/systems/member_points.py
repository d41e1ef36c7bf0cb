"""System 5: the members of ``examples/member_points``, its sheet, and what has to stand in it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from deployment import Deployment
from fanfold._jobs.report import read_report
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from systems.rows import EMULATED, Row, row

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "member_points"
COLUMNS: Final = ("会員番号", "名前", "会員ランク", "ポイント", "タイムスタンプ")
SHEET: Final = "会員"
SAMPLE: Final = [72.5, 75, 57]
"""What comes of the three members that the article shows."""
ROWS: Final = 10
"""Of a chunk."""
_WITHIN_SECONDS = 180


def made(*arguments: str) -> bytes:
    """Return what the generator prints."""
    command = [sys.executable, str(EXAMPLE / "members.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - ours


def make(target: str, members: int, file: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run the example by its Makefile, which writes the sheet into a file.

    Args:
        target: ``queue`` or ``machine``, which start a local AWS of their own; ``on-…`` for one that is there.
        members: How many.
        file: Where the sheet is written.
        variables: What names the local AWS that is there, and the job on it.

    Raises:
        RuntimeError: If something fails on the way.
    """
    settings = [f"MEMBERS={members}", f"SHEET={file}", f"RUN={target}", f"BIN={Path(sys.executable).parent}"]
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # of the make that runs this
    done = subprocess.run(  # noqa: S603 - ours
        ["make", "-C", str(EXAMPLE), target, *settings],  # noqa: S607 - as a user has it
        env={**{name: value for name, value in os.environ.items() if name not in outer}, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=_WITHIN_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"make {target}: {done.stderr}")


def rows_of(file: Path) -> list[tuple[Any, ...]]:
    """Return the rows of the sheet, the header too.

    Raises:
        ValueError: If it is not the only one of its book.
    """
    import openpyxl

    book = openpyxl.load_workbook(file)
    if book.sheetnames != [SHEET]:
        raise ValueError(f"the book has the sheets {book.sheetnames}, not {SHEET} alone")
    return list(book[SHEET].iter_rows(values_only=True))


def expected(members: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the rows of the sheet, by decimals, and by none of the example's code."""
    rows: list[tuple[Any, ...]] = [(*COLUMNS, "ボーナスポイント")]
    for member in members:
        factor = Decimal("1.25") if member["会員ランク"] in (4, 5) else 1
        rows.append((*(member[column] for column in COLUMNS), Decimal(member["ポイント"]) * factor))
    return rows


def members_of(count: int) -> list[dict[str, Any]]:
    """Return so many members, as the generator makes them."""
    members: list[dict[str, Any]] = json.loads(made(str(count)))
    return members


async def rows(stack: LocalStack, folder: Path, count: int, *, by_each_road: bool) -> list[Row]:
    """Make a sheet of so many members by SQS, and by Step Functions."""
    parameters = {"HandlerModule": "app", "StateMachine": "inline"}
    job = Deployment(stack, "members", EXAMPLE, parameters)
    roads = {"SQS": "on-queue", "Step Functions": "on-machine"} if by_each_road else {"SQS": "on-queue"}
    return [each for road, target in roads.items() for each in await in_a_sheet(job, road, target, folder, count)]


async def in_a_sheet(job: Deployment, road: str, target: str, folder: Path, count: int) -> list[Row]:
    """Run the example by its Makefile, by one road."""
    file, machine = folder / f"{target}.xlsx", {"FANFOLD_STATE_MACHINE_ARN": job.outputs["StateMachine"]}
    await asyncio.to_thread(make, target, count, file, {**job.stack.environment, **job.variables, **machine})
    async with connect(job.variables, **job.client_settings) as backend:
        run = await backend.ledger.run(target)
        segments = (await read_report(backend, run)).segments if run else 0
    came, wanted = rows_of(file), expected(members_of(count))
    sample = [each[-1] for each in came[1 : len(SAMPLE) + 1]]
    right = sum(one == other for one, other in zip(came[1:], wanted[1:], strict=False))
    return [
        row(5, f"{road}: bonus of the three sample members", SAMPLE, sample, EMULATED),
        row(5, f"{road}: segments, of {ROWS} rows each", count // ROWS, segments, EMULATED),
        row(5, f"{road}: members in one sheet, in order", count, right, EMULATED, holds=came == wanted),
    ]
