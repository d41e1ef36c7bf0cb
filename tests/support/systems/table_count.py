"""System 1: ``examples/table_count`` in 16 segments, with a broken and a continued segment, and writing back."""

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
from systems.rows import EMULATED, SIMULATED, Row, committed, row
from systems.unprocessed_proxy import unprocessed_proxy

TRIAL: Final = Path(__file__).parents[1] / "count_job" / "trial.py"
SCALING: Final = "segment_scaling.json"
ARTICLE_SHARE, ARTICLE_MOST, MEAN = 10.9, 6_577, 6_250
"""Figures of the article: time of 16 segments in % of one segment's, and the maximum and mean of their items."""
TABLE, BROKEN = "articles", 3
FEW, ITEM_SECONDS, FUNCTION_SECONDS, BATCH = 1_000, 0.006, 5, 25
"""Items of the smaller tables; seconds per item and function timeout, so that a run is continued; items of a batch."""


class Trial:
    """The example with segments that can fail or be slow, and their log."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder / "count"
        shutil.copytree(EXAMPLE, self.folder)
        shutil.copy(TRIAL, self.folder)

    def params(self, run: str, **more: Any) -> dict[str, Any]:
        """Return the parameters of a run."""
        return {"log": str(self._log(run)), "fixed": str(self._fixed(run)), **more}

    def fix(self, run: str) -> None:
        """Fix the broken segment, and clear the log."""
        self._fixed(run).touch()
        self._log(run).unlink()

    def starts(self, run: str) -> list[int]:
        """Return the number of each segment start in the log."""
        return [int(line) for line in self._lines(run) if line.startswith("+")]

    def max_concurrent(self, run: str) -> int:
        """Return the maximum number of concurrent segments."""
        return max(accumulate(1 if line.startswith("+") else -1 for line in self._lines(run)))

    async def fanfold(self, *arguments: str, **variables: str) -> str:
        """Run a command in the folder, as users do; return its output."""
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
        """Run a job in one process; return its document."""
        arguments = ("--run", run, "--params", json.dumps(params), "--json")
        ended: dict[str, Any] = json.loads(await self.fanfold("run", job, "--inline", *arguments, **variables))
        return ended

    def _log(self, run: str) -> Path:
        return self.folder / f"{run}.log"

    def _fixed(self, run: str) -> Path:
        return self.folder / f"{run}.fixed"

    def _lines(self, run: str) -> list[str]:
        return self._log(run).read_text(encoding="ascii").splitlines()


async def rows(stack: LocalStack, folder: Path, items: int, *, by_each_road: bool) -> list[Row]:
    """Count a table, and write one back, in one process and with SQS, or only in one process."""
    trial = Trial(stack, folder)
    await fill(stack.client_settings, TABLE, items)
    return [
        *await counted(stack, items),
        *scaling_committed(),
        *await in_one_process(trial, items),
        *(await redriven(trial) if by_each_road else []),
        *await continued(trial),
        *(await written_back(trial) if by_each_road else []),
        *await written_back_with_retries(trial),
    ]


async def counted(stack: LocalStack, items: int) -> list[Row]:
    """Count a table in 16 segments."""
    job = Deployment(stack, "count", EXAMPLE, {**PARAMETERS, "SourceTable": TABLE})
    cut = job.scatter("count", table=TABLE, total=SEGMENTS)["segments"]
    expected, got = {"total_count": items}, await job.output("count")
    figure = f"{items:,} items of {FIELDS} fields, in {SEGMENTS} segments"
    return [row(1, figure, expected, got, EMULATED, holds=(cut, got) == (SEGMENTS, expected))]


def scaling_committed() -> list[Row]:
    """Return the comparison of 16 segments with one, from the committed result."""
    evidence, rows = f"{SIMULATED}, in {SCALING}", list[Row]()
    for result in committed(SCALING):
        if result["segments"] == SEGMENTS:
            share, off, article_off = (
                result["% of one"],
                result["most off the mean, %"],
                100 * (ARTICLE_MOST / MEAN - 1),
            )
            most, most_off = f"at most {ARTICLE_SHARE} %", f"at most {article_off:.1f} %"
            figures = "time of 16 segments, in % of one segment's", "items of one of 16 segments, off the mean"
            rows.append(row(1, figures[0], most, f"{share:.1f} %", evidence, holds=share <= ARTICLE_SHARE))
            rows.append(row(1, figures[1], most_off, f"{off:.1f} %", evidence, holds=off <= article_off))
    return rows


# --- A broken segment: the report names it, and only it is processed again.


async def in_one_process(trial: Trial, items: int) -> list[Row]:
    """Count the table in one process, with all segments concurrently."""
    params = trial.params("here", table=TABLE, total=SEGMENTS, broken=[BROKEN])
    first = await trial.inline("trial:job", "here", params)
    concurrent = trial.max_concurrent("here")
    trial.fix("here")
    second = await trial.inline("trial:job", "here", params)
    return [
        row(1, "one process: concurrent segments", SEGMENTS, concurrent, EMULATED),
        *fixed("one process", first["failed"], trial.starts("here"), second["output"], items),
    ]


async def redriven(trial: Trial) -> list[Row]:
    """Count a smaller table with SQS; ``fanfold redrive`` sends the broken segment again."""
    await fill(trial.stack.client_settings, "few", FEW)
    parameters = {**PARAMETERS, "HandlerModule": "trial", "SourceTable": "few"}
    job = Deployment(trial.stack, "trial", trial.folder, parameters)
    job.scatter("sqs", **trial.params("sqs", table="few", total=SEGMENTS, broken=[BROKEN]))
    await trial.fanfold("status", "sqs", "--watch", **job.variables)
    first = json.loads(await trial.fanfold("status", "sqs", "--json", **job.variables))
    trial.fix("sqs")
    await trial.fanfold("redrive", "sqs", "--json", **job.variables)
    return fixed("SQS", first["report"]["failed"], trial.starts("sqs"), await job.output("sqs"), FEW)


def fixed(path: str, failed: dict[str, str], restarted: list[int], output: Any, items: int) -> list[Row]:
    """Return which segments failed, which were processed again, and the final sum."""
    broken = f"segment {BROKEN}"
    return [
        row(1, f"{path}: broken segment in the report", broken, segment_names(failed), EMULATED),
        row(1, f"{path}: processed again after the fix", broken, segment_names(sorted(set(restarted))), EMULATED),
        row(1, f"{path}: sum after the fix", {"total_count": items}, output, EMULATED),
    ]


def segment_names(numbers: Iterable[int | str]) -> str:
    """Return the names of segments."""
    return ", ".join(f"segment {number}" for number in numbers) or "none"


# --- Continuation, and writing back.


async def continued(trial: Trial) -> list[Row]:
    """Count a table in one segment, which takes longer than the function timeout."""
    await fill(trial.stack.client_settings, "long", FEW)
    parameters = {"FunctionTimeout": str(FUNCTION_SECONDS), "HandlerModule": "trial", "SourceTable": "long"}
    job = Deployment(trial.stack, "long", trial.folder, parameters, visibility_timeout=FUNCTION_SECONDS)
    job.scatter("long", **trial.params("long", table="long", total=1, item_seconds=ITEM_SECONDS))
    figure = f"one segment of {FEW:,} items, function timeout {FUNCTION_SECONDS} s"
    expected, output = {"total_count": FEW}, await job.output("long")
    invocations = len(trial.starts("long"))
    return [
        row(1, f"{figure}: counted", expected, output, EMULATED),
        row(1, f"{figure}: invocations", "more than 1", invocations, EMULATED, holds=invocations > 1),
    ]


async def written_back(trial: Trial) -> list[Row]:
    """Write a table back with SQS: each item gets an additional field."""
    await fill(trial.stack.client_settings, "members", FEW)
    parameters = {"HandlerModule": "write_back", "SourceTable": "members", "SourceTableAccess": "write"}
    job = Deployment(trial.stack, "back", trial.folder, parameters)
    job.scatter("back", table="members", key=["item_no"])
    written = (await job.output("back"))["total_written"]
    stored = await written_in(trial.stack, "members")
    return [
        row(1, f"SQS: written back, of {FEW:,} items scanned", FEW, written, EMULATED, holds=stored == written == FEW)
    ]


async def written_back_with_retries(trial: Trial) -> list[Row]:
    """Write a table back in one process, while a third of each batch stays unprocessed."""
    await fill(trial.stack.client_settings, "short", FEW)
    async with unprocessed_proxy(trial.stack.endpoint_url) as proxy:
        params = {"table": "short", "key": ["item_no"]}
        ended = await trial.inline("write_back:job", "back", params, AWS_ENDPOINT_URL=proxy.url)
    written, stored = ended["output"]["total_written"], await written_in(trial.stack, "short")
    right, figure = stored == written == proxy.accepted == FEW, "a third of each batch unprocessed"
    most = proxy.most_items
    return [
        row(1, f"{figure}: written back, of {FEW:,}", FEW, written, EMULATED, holds=right and proxy.unprocessed > 0),
        row(1, f"{figure}: items in a request", f"at most {BATCH}", most, EMULATED, holds=most <= BATCH),
    ]


async def written_in(stack: LocalStack, table: str) -> int:
    """Return how many items of a table have the field that writing back adds."""
    return len([stored async for stored in items_of(stack.client_settings, table) if "length" in stored])
