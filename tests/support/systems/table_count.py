"""System 1: ``examples/table_count`` by 16 segments, with a broken one, by one that is continued, and written back."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import anyio

from deployment import Deployment
from fanfold._stack.emulator import LocalStack
from systems.articles import EXAMPLE, FIELDS, PARAMETERS, SEGMENTS, fill, items_of
from systems.left_over import leaving_over
from systems.rows import EMULATED, SIMULATED, Row, committed, row

TRIAL: Final = Path(__file__).parents[1] / "count_job" / "trial.py"
SCALING: Final = "segment_scaling.json"
ARTICLE_SHARE, ARTICLE_MOST, MEAN = 10.9, 6_577, 6_250
"""Of the article: % of one segment's time, the most items that one of 16 segments read, and the mean of them."""
TABLE, BROKEN = "articles", 3
FEW, PAUSE, FUNCTION_SECONDS, BATCH = 1_000, 0.006, 5, 25
"""Items of the smaller tables; seconds an item and a function takes that has to be continued; items of a batch."""


class Trial:
    """The example with segments that can be told to fail, or to take their time, and what they noted down."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder / "count"
        shutil.copytree(EXAMPLE, self.folder)
        shutil.copy(TRIAL, self.folder)

    def params(self, run: str, **more: Any) -> dict[str, Any]:
        """What a run is started with."""
        return {"log": str(self._log(run)), "mended": str(self._mended(run)), **more}

    def fix(self, run: str) -> None:
        """Mend what is broken, and begin to note anew."""
        self._mended(run).touch()
        self._log(run).unlink()

    def begun(self, run: str) -> list[int]:
        """The segments that were begun since, one for each time."""
        return [int(line) for line in self._noted(run) if line.startswith("+")]

    def most_at_once(self, run: str) -> int:
        """How many segments were begun and not yet left, at most."""
        return max(accumulate(1 if line.startswith("+") else -1 for line in self._noted(run)))

    async def fanfold(self, *arguments: str, **variables: str) -> str:
        """Run a command in the folder, as a user has it; return what it prints."""
        done = await anyio.run_process(
            [sys.executable, "-m", "fanfold", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.stack.environment, **variables},
            check=False,
        )
        if not done.stdout.strip():
            raise RuntimeError(f"fanfold {arguments[0]}: {done.stderr.decode()}")
        return done.stdout.decode()

    async def inline(self, job: str, run: str, params: dict[str, Any], **variables: str) -> dict[str, Any]:
        """Run a job in one process; return what became of it."""
        arguments = ("--run", run, "--params", json.dumps(params), "--json")
        ended: dict[str, Any] = json.loads(await self.fanfold("run", job, "--inline", *arguments, **variables))
        return ended

    def _log(self, run: str) -> Path:
        return self.folder / f"{run}.log"

    def _mended(self, run: str) -> Path:
        return self.folder / f"{run}.mended"

    def _noted(self, run: str) -> list[str]:
        return self._log(run).read_text(encoding="ascii").splitlines()


async def rows(stack: LocalStack, folder: Path, items: int, *, by_each_road: bool) -> list[Row]:
    """Count a table, and write one back, in one process and by SQS, or by one of the two."""
    trial = Trial(stack, folder)
    await fill(stack.client_settings, TABLE, items)
    return [
        *await counted(stack, items),
        *scaling_committed(),
        *await in_one_process(trial, items),
        *(await redriven(trial) if by_each_road else []),
        *await continued(trial),
        *(await written_back(trial) if by_each_road else []),
        *await written_back_piece_by_piece(trial),
    ]


async def counted(stack: LocalStack, items: int) -> list[Row]:
    """Count a table by 16 segments."""
    job = Deployment(stack, "count", EXAMPLE, {**PARAMETERS, "SourceTable": TABLE})
    cut = job.scatter("count", table=TABLE, total=SEGMENTS)["segments"]
    expected, got = {"total_count": items}, await job.output("count")
    figure = f"{items:,} items of {FIELDS} fields, by {SEGMENTS} segments"
    return [row(1, figure, expected, got, EMULATED, holds=(cut, got) == (SEGMENTS, expected))]


def scaling_committed() -> list[Row]:
    """Return what the committed result says of 16 segments beside one."""
    rung, rows = f"{SIMULATED}, in {SCALING}", list[Row]()
    for each in committed(SCALING):
        if each["segments"] == SEGMENTS:
            share, off, off_there = each["% of one"], each["most off the mean, %"], 100 * (ARTICLE_MOST / MEAN - 1)
            most, most_off = f"at most {ARTICLE_SHARE} %", f"at most {off_there:.1f} %"
            figures = "16 segments' time, of one segment's", "items of one of 16 segments, off the mean"
            rows.append(row(1, figures[0], most, f"{share:.1f} %", rung, holds=share <= ARTICLE_SHARE))
            rows.append(row(1, figures[1], most_off, f"{off:.1f} %", rung, holds=off <= off_there))
    return rows


# --- A segment that is broken: it is named, and it alone is done again.


async def in_one_process(trial: Trial, items: int) -> list[Row]:
    """Count it in one process, all segments at once."""
    params = trial.params("here", table=TABLE, total=SEGMENTS, broken=[BROKEN])
    first = await trial.inline("trial:job", "here", params)
    at_once = trial.most_at_once("here")
    trial.fix("here")
    again = await trial.inline("trial:job", "here", params)
    return [
        row(1, "one process: segments at once", SEGMENTS, at_once, EMULATED),
        *mended("one process", first["failed"], trial.begun("here"), again["output"], items),
    ]


async def redriven(trial: Trial) -> list[Row]:
    """Count a smaller one by SQS; ``fanfold redrive`` sends the broken segment again."""
    await fill(trial.stack.client_settings, "few", FEW)
    parameters = {**PARAMETERS, "HandlerModule": "trial", "SourceTable": "few"}
    job = Deployment(trial.stack, "trial", trial.folder, parameters)
    job.scatter("sqs", **trial.params("sqs", table="few", total=SEGMENTS, broken=[BROKEN]))
    await trial.fanfold("status", "sqs", "--watch", **job.variables)
    first = json.loads(await trial.fanfold("status", "sqs", "--json", **job.variables))
    trial.fix("sqs")
    await trial.fanfold("redrive", "sqs", "--json", **job.variables)
    return mended("SQS", first["account"]["failed"], trial.begun("sqs"), await job.output("sqs"), FEW)


def mended(road: str, failed: dict[str, str], again: list[int], output: Any, items: int) -> list[Row]:
    """Say what was named and what was done again, no other, and the sum then."""
    broken = f"segment {BROKEN}"
    return [
        row(1, f"{road}: one is broken: named", broken, segments_in_words(failed), EMULATED),
        row(1, f"{road}: it is mended: done again", broken, segments_in_words(sorted(set(again))), EMULATED),
        row(1, f"{road}: the sum then", {"total_count": items}, output, EMULATED),
    ]


def segments_in_words(numbers: Iterable[int | str]) -> str:
    """Name segments by their numbers."""
    return ", ".join(f"segment {number}" for number in numbers) or "none"


# --- Life extension, and writing back.


async def continued(trial: Trial) -> list[Row]:
    """Count a table by one segment, which takes longer than its function may."""
    await fill(trial.stack.client_settings, "long", FEW)
    parameters = {"FunctionTimeout": str(FUNCTION_SECONDS), "HandlerModule": "trial", "SourceTable": "long"}
    job = Deployment(trial.stack, "long", trial.folder, parameters, visibility_timeout=FUNCTION_SECONDS)
    job.scatter("long", **trial.params("long", table="long", total=1, pause=PAUSE))
    figure = f"one segment of {FEW:,} items, a function of {FUNCTION_SECONDS} s"
    expected, output = {"total_count": FEW}, await job.output("long")
    invocations = len(trial.begun("long"))
    return [
        row(1, f"{figure}: counted", expected, output, EMULATED),
        row(1, f"{figure}: invocations", "more than 1", invocations, EMULATED, holds=invocations > 1),
    ]


async def written_back(trial: Trial) -> list[Row]:
    """Write a table back by SQS: each item gets a field more."""
    await fill(trial.stack.client_settings, "members", FEW)
    parameters = {"HandlerModule": "write_back", "SourceTable": "members", "SourceTableAccess": "write"}
    job = Deployment(trial.stack, "back", trial.folder, parameters)
    job.scatter("back", table="members", key=["item_no"])
    written = (await job.output("back"))["total_written"]
    there = await written_in(trial.stack, "members")
    return [
        row(1, f"SQS: written back, of {FEW:,} items scanned", FEW, written, EMULATED, holds=there == written == FEW)
    ]


async def written_back_piece_by_piece(trial: Trial) -> list[Row]:
    """Write a table back in one process, where a third of each batch is left over."""
    await fill(trial.stack.client_settings, "short", FEW)
    async with leaving_over(trial.stack.endpoint_url) as road:
        params = {"table": "short", "key": ["item_no"]}
        ended = await trial.inline("write_back:job", "back", params, AWS_ENDPOINT_URL=road.url)
    written, there = ended["output"]["total_written"], await written_in(trial.stack, "short")
    right, figure = there == written == road.accepted == FEW, "a third left over each time"
    most = road.most_items
    return [
        row(1, f"{figure}: written back, of {FEW:,}", FEW, written, EMULATED, holds=right and road.left_over > 0),
        row(1, f"{figure}: items in a request", f"at most {BATCH}", most, EMULATED, holds=most <= BATCH),
    ]


async def written_in(stack: LocalStack, table: str) -> int:
    """How many items of a table have the field that writing back adds."""
    return len([found async for found in items_of(stack.client_settings, table) if "length" in found])
