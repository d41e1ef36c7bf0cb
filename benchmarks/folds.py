"""Fold a million results in segment order, in one process: memory and processor time of each ready-made fold.

::

    python benchmarks/folds.py [--segments 10000 1000000] [--json FILE]

Each fold runs in a separate process for each number of segments. The fold function handles one check: it counts the
markers, pins them, sorts the results on disk, folds them and commits the output. Markers, of 100 random segments each,
are generated while they are read, and a committed file is checked and discarded, so that neither affects the
measurement. The peak is the resident memory of the whole process, including interpreter and libraries. The output is
checked.
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from measure import Meter, Rows, fail, isolated, main, status_bytes, table
from fanfold import Job, Ranges, folds, inmemory
from fanfold.inmemory import InMemoryLedger, InMemoryStore
from fanfold.protocols import Backend, Marker, Run
from fanfold.testing import make_event

MARKER_SEGMENTS = 100
LIMIT_MB = 256
FOLDS: dict[str, Callable[[], folds.Fold]] = {
    "total": folds.total,
    "groups": folds.groups,
    "to_json_lines": folds.to_json_lines,
    "to_csv": folds.to_csv,
    "to_excel": folds.to_excel,
    "to_parquet": folds.to_parquet,
}


_encode = json.JSONEncoder(separators=(",", ":")).encode
"""Encodes a result as the segment handler does."""


def result_of(fold: str, segment: int) -> Any:
    """Return the result of a segment: a number, numbers by key, or one row."""
    if fold == "total":
        return segment
    if fold == "groups":
        return {f"group {segment % 100}": {"segments": 1, "sum": segment}}
    return [{"number": segment, "name": f"member {segment:09d}", "points": segment % 100 + 0.5, "date": "2026-11-25"}]


def scattered(segments: int) -> int:
    """Return a stride that visits every segment once, far from the one before."""
    stride = int(segments * 0.618) | 1
    while math.gcd(stride, segments) != 1:
        stride += 2
    return stride


class Made(InMemoryLedger):
    """A ledger whose markers are generated while they are read."""

    def __init__(self, fold: str, segments: int) -> None:
        super().__init__()
        self.fold = fold
        self.segments = segments

    async def markers(self, run_id: str, gen: int) -> AsyncGenerator[Marker, None]:  # noqa: ARG002 - of the one run
        """Yield the markers."""
        stride = scattered(self.segments)
        for first in range(0, self.segments, MARKER_SEGMENTS):
            places = range(first, min(first + MARKER_SEGMENTS, self.segments))
            ids = sorted(place * stride % self.segments for place in places)
            results = {segment: _encode(result_of(self.fold, segment)) for segment in ids}
            yield Marker(f"{first:032x}", gen, ids=ids, results=results, items=[1] * len(ids))


class Looking(InMemoryStore):
    """A store that counts the bytes of a file and discards it."""

    committed = 0

    async def put_file(self, bucket: str, key: str, file: Path, **_options: Any) -> None:
        """Count."""
        self.committed = file.stat().st_size  # noqa: ASYNC240 - nothing else runs
        await self.put(bucket, key, b"")


async def fold_all(fold: str, segments: int) -> dict[str, Any]:
    """Fold a run whose segments have all ended; return the committed output."""
    store = Looking("results")
    ledger = Made(fold, segments)
    backend: Backend = replace(inmemory.backend(), store=store, ledger=ledger, results_bucket="results")

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Backend, None]:
        yield backend

    job = Job("folds", backend=opened, settler=inmemory.InMemorySettler(inmemory.InMemoryQueue()))
    job.source(lambda _: Ranges(segments, size=1))
    job.fold(FOLDS[fold]())
    plan = await Ranges(segments, size=1).pin(backend, "")
    await ledger.open_run(Run("run", "folds", {}, plan, created_at=0, expires_at=2**40))
    await ledger.checkpoint("run", segments)
    await ledger.seal("run", segments)
    await ledger.count("run", segments)
    response = await job.fold_handler.handle_batch(make_event({"v": 1, "check": "run", "watch": False}))
    run = await ledger.run("run")
    assert response == {"batchItemFailures": []}  # noqa: S101 - a benchmark of what is wrong is of no use
    assert run is not None  # noqa: S101 - as above
    assert run.state == "SUCCEEDED"  # noqa: S101 - as above
    output = json.loads(await backend.get_result(str(run.output)))
    return {"output": output, "bytes": store.committed}


def check(fold: str, segments: int, output: Any) -> None:
    """Raise if the output is wrong."""
    whole = segments * (segments - 1) // 2
    if fold == "total":
        right = output == whole
    elif fold == "groups":
        right = sum(group["sum"] for group in output.values()) == whole
    else:
        right = output["rows"] == segments
    if not right:
        fail(f"the output of {fold} is wrong: {str(output)[:200]}")


@isolated
def folding(fold: str, segments: int) -> tuple[int, float, int | None]:
    """Fold once; return bytes of the committed file, processor time, and the peak of the whole process."""
    with Meter() as meter:
        made = asyncio.run(fold_all(fold, segments))
    check(fold, segments, made["output"])
    return made["bytes"], meter.cpu_seconds, status_bytes("VmHWM")


@table()
def a_million(
    *,
    segments: Annotated[tuple[int, ...], "results of a run"] = (10_000, 1_000_000),
    folds: Annotated[tuple[str, ...], "which folds (all)", FOLDS] = tuple(FOLDS),
) -> Rows:
    """Measure memory and time of folding many results."""
    took = {case: folding(*case) for case in product(folds, segments)}
    return [
        {
            "fold": fold,
            "results": results,
            "file MB": size / 1e6,
            "results per CPU second": round(results / seconds),
            "peak MB": None if peak is None else peak / 1e6,
            f"under {LIMIT_MB} MB": None if peak is None else peak < LIMIT_MB * 1e6,
        }
        for (fold, results), (size, seconds, peak) in took.items()
    ]


if __name__ == "__main__":
    main(a_million)
