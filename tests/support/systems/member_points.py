"""System 5: the members of ``examples/member_points``, its sheet, and the expected rows."""

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
"""Points of the three members in the article."""
ROWS: Final = 10
"""Rows per chunk."""
_WITHIN_SECONDS = 600


def generated(*arguments: str) -> bytes:
    """Return the output of the generator."""
    command = [sys.executable, str(EXAMPLE / "members.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - our own program


def make(target: str, members: int, file: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run the example with its Makefile, which writes the sheet to a file.

    Args:
        target: ``queue`` or ``machine``, which start a separate local AWS; ``on-…`` for a running one.
        members: Number of members.
        file: The file for the sheet.
        variables: Environment variables of the running local AWS and of the job.

    Raises:
        RuntimeError: If ``make`` fails.
    """
    settings = [f"MEMBERS={members}", f"SHEET={file}", f"RUN={target}", f"BIN={Path(sys.executable).parent}"]
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # of an outer make
    done = subprocess.run(  # noqa: S603 - our own program
        ["make", "-C", str(EXAMPLE), target, *settings],  # noqa: S607 - make from the path, as users run it
        env={**{name: value for name, value in os.environ.items() if name not in outer}, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=_WITHIN_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"make {target}: {done.stderr}")


def rows_of(file: Path) -> list[tuple[Any, ...]]:
    """Return the rows of the sheet, including the header.

    Raises:
        ValueError: If the workbook has other sheets.
    """
    import openpyxl

    book = openpyxl.load_workbook(file)
    if book.sheetnames != [SHEET]:
        raise ValueError(f"the workbook has the sheets {book.sheetnames}, not only {SHEET}")
    return list(book[SHEET].iter_rows(values_only=True))


def expected(members: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the expected rows, computed with decimals, without the example's code."""
    rows: list[tuple[Any, ...]] = [(*COLUMNS, "ボーナスポイント")]
    for member in members:
        factor = Decimal("1.25") if member["会員ランク"] in (4, 5) else 1
        rows.append((*(member[column] for column in COLUMNS), Decimal(member["ポイント"]) * factor))
    return rows


def members_of(count: int) -> list[dict[str, Any]]:
    """Return members from the generator."""
    members: list[dict[str, Any]] = json.loads(generated(str(count)))
    return members


async def rows(stack: LocalStack, folder: Path, count: int, *, by_each_road: bool) -> list[Row]:
    """Create the sheet with SQS and with Step Functions, or with SQS only."""
    parameters = {"HandlerModule": "app", "StateMachine": "inline"}
    job = Deployment(stack, "members", EXAMPLE, parameters)
    paths = {"SQS": "on-queue", "Step Functions": "on-machine"} if by_each_road else {"SQS": "on-queue"}
    return [one for path, target in paths.items() for one in await in_a_sheet(job, path, target, folder, count)]


async def in_a_sheet(job: Deployment, path: str, target: str, folder: Path, count: int) -> list[Row]:
    """Run the example with its Makefile, by one path."""
    file, machine = folder / f"{target}.xlsx", {"FANFOLD_STATE_MACHINE_ARN": job.outputs["StateMachine"]}
    await asyncio.to_thread(make, target, count, file, {**job.stack.environment, **job.variables, **machine})
    async with connect(job.variables, **job.client_settings) as backend:
        run = await backend.ledger.run(target)
        segments = (await read_report(backend, run)).segments if run else 0
    actual, expected_rows = rows_of(file), expected(members_of(count))
    sample = [values[-1] for values in actual[1 : len(SAMPLE) + 1]]
    right = sum(one == other for one, other in zip(actual[1:], expected_rows[1:], strict=False))
    return [
        row(5, f"{path}: bonus of the three sample members", SAMPLE, sample, EMULATED),
        row(5, f"{path}: segments, of {ROWS} rows each", count // ROWS, segments, EMULATED),
        row(5, f"{path}: members in one sheet, in order", count, right, EMULATED, holds=actual == expected_rows),
    ]
