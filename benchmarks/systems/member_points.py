"""System 5: the members of ``examples/member_points``, its sheet, and what has to stand in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "member_points"
COLUMNS: Final = ("会員番号", "名前", "会員ランク", "ポイント", "タイムスタンプ")
SHEET: Final = "会員"
_WITHIN_SECONDS = 180


def made(*arguments: str) -> bytes:
    """Return what the generator prints."""
    command = [sys.executable, str(EXAMPLE / "members.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - ours


def make(target: str, members: int, file: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run the example by its Makefile, which writes the sheet into a file.

    Args:
        target: ``queue`` or ``machine``, which start a local AWS of their own; ``on-queue`` for one that is there.
        members: How many.
        file: Where the sheet is written.
        variables: What names the local AWS that is there, and the job on it.

    Raises:
        RuntimeError: If something fails on the way.
    """
    settings = [f"MEMBERS={members}", f"SHEET={file}", f"BIN={Path(sys.executable).parent}"]
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
