"""Where commands read a run: in the ledger of a deployed job, or in the folder of an inline run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import anyio
from typer import Option

from fanfold._jobs.inline import DATABASE_FILE, inline_details
from fanfold._report.cost import DEFAULT_MEMORY_MB
from fanfold._report.page import RunPage
from fanfold._report.read_page import read_page
from fanfold.cli.backend import deployed_backend
from fanfold.errors import FanfoldError

Inline = Annotated[bool, Option("--inline", help="Show a run of `fanfold run --inline`.")]
Folder = Annotated[Path, Option(metavar="FOLDER", help="With --inline: the --output of `fanfold run --inline`.")]
FOLDER: Final = Path("fanfold-runs")
"""Where ``fanfold run --inline`` stores runs by default."""


async def read_run(run: str, folder: Path | None, memory_mb: int = DEFAULT_MEMORY_MB) -> RunPage:
    """Return what the page of a run shows.

    Args:
        run: Name of the run.
        folder: Folder with inline runs; None for a run of a deployed job.
        memory_mb: Memory of the segment function, for the estimated cost.
    """
    if folder is not None:
        return await read_inline_run(run, folder)
    try:
        async with deployed_backend() as backend:
            return await read_page(run, backend, memory_mb=memory_mb)
    except FanfoldError as error:
        if await (anyio.Path(FOLDER) / run / DATABASE_FILE).is_file():
            raise type(error)(f"{error}. For the inline run with this name in {FOLDER}, add --inline") from error
        raise


async def read_inline_run(run: str, folder: Path) -> RunPage:
    """Return what the page of an inline run shows."""
    details, reason = await inline_details(folder, run)
    output = "" if folder == FOLDER else f" --output {folder}"
    retry = "fanfold run MODULE:JOB --inline --run {run}" + output.replace("{", "{{").replace("}", "}}")
    return RunPage(details, reason, retry=retry, inline=True)
