"""A whole run in this process: no queue, no ledger, no deployed function.

The source is pinned and cut as scatter does it, the segment handler works on the segments, several at once, and the
results are folded. A segment that fails is named with its reason, the others carry on; what is done is kept, so that a
second run of the same name does only what is missing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanfold import sources
from fanfold._base.concurrency import for_each
from fanfold._base.context import BatchContext, Context
from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._consumer.failure_log import FailureLog
from fanfold._consumer.settings import allowed_concurrency, check_count
from fanfold._folds.output_file import File
from fanfold._jobs.definition import JobDefinition
from fanfold._jobs.inline_database import DATABASE_BUCKET, InlineRunDatabase, open_inline_database
from fanfold._jobs.job_state import JobState
from fanfold._jobs.output import apply, file_reference, to_json
from fanfold._jobs.scatter import segments_left
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_handler import process_segment
from fanfold._jobs.segment_result import REASON_CHARACTERS, reason_of
from fanfold._jobs.tally import Evenness, Tally
from fanfold._ports.backend import Backend
from fanfold._ports.run import Marker, Run, check_name, source_prefix
from fanfold.errors import ConfigurationError, FanfoldError

DATABASE_FILE = "results.sqlite"
OUTPUT_FILE = "output.json"


@dataclass(frozen=True, slots=True)
class InlineRun:
    """What became of a run in this process."""

    id: str
    """Its name."""
    segments: int
    """Its segments."""
    done: int
    """Segments that are done, earlier ones of this name included."""
    worked_on: int
    """Segments that this call worked on."""
    failed: Mapping[int, str]
    """Reason by segment, for those that failed."""
    missing: int
    """Segments that are neither done nor failed: they were not asked for."""
    output: Any
    """What the fold returned, if all segments are done: a JSON value, or a ``File``; with a folder, for a file,
    ``{"file": path, "bytes": …, "rows": …}``."""
    evenness: Evenness | None
    """How evenly the items lie in the segments that are done; None if there are none."""
    seconds: float
    """How long it took."""

    @property
    def succeeded(self) -> bool:
        """Whether every segment is done, and folded."""
        return self.done == self.segments


async def run_inline(
    job: JobDefinition,
    params: Mapping[str, Any] | None = None,
    *,
    run: str | None = None,
    only: Collection[int] | None = None,
    concurrency: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> InlineRun:
    """Run a job in this process, on the caller's event loop.

    Args:
        job: The job. Its sources are read from where its backend says, on AWS without any ``FANFOLD_…`` variable.
        params: Parameters of the run; None for those of the run of that name, or for none.
        run: Name of the run; None for a new one.
        only: Numbers of the segments to work on, done before or not; None for all that are not done.
        concurrency: Segments worked on at once, from 1; None for the job's.
        folder: Where a folder of the run's name keeps what is done and, in the end, the output. None to keep nothing.
        progress: Called, again and again, with how many segments have ended, and how many there are to work on.

    Raises:
        ConfigurationError: If the job lacks a function, the run of this name is another one, or nothing can be kept.
        SourceError: If there is nothing to cut.
        FanfoldError: If the lifespan or the fold fails; what is done is kept.
    """
    began = time.monotonic()
    if not isinstance(params, Mapping | None):
        raise ConfigurationError(f"params must be a dict, such as {{'bucket': …}}, or None, not {params!r}")
    function, fold = job.part("segment"), job.part("fold")
    abreast = check_count(allowed_concurrency(job.settings) if concurrency is None else concurrency, "concurrency")
    name = check_name(run or uuid.uuid4().hex, "run")
    home = None if folder is None else Path(folder) / name
    with open_inline_database(None if home is None else home / DATABASE_FILE) as kept:
        async with _opened(job, kept) as state:
            begun = await _begun(job, params, name, kept, state.backend)
            total = sum(1 for _ in sources.cut(begun.plan))
            wanted = _wanted(total, only, kept)
            failures = FailureLog()
            ended = 0

            async def work(segment: Segment) -> None:
                nonlocal ended
                await _work(segment, begun, function, state, kept, failures)
                ended += 1
                if progress is not None:
                    progress(ended, len(wanted))

            if progress is not None:
                progress(0, len(wanted))
            await for_each(work, (one for one in segments_left(begun) if one.number in wanted), concurrency=abreast)
            failures.write()
        items, failed = kept.items(), kept.failures()
        output = await _folded(fold, kept, home) if len(items) == total else None
        return InlineRun(
            id=name,
            segments=total,
            done=len(items),
            worked_on=len(wanted),
            failed=failed,
            missing=total - len(items) - len(failed),
            output=output,
            evenness=_evenness(total, items),
            seconds=time.monotonic() - began,
        )


@asynccontextmanager
async def _opened(job: JobDefinition, kept: InlineRunDatabase) -> AsyncIterator[JobState]:
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(job.open_backend(sources_only=True))
        backend = replace(opened, store=kept.over(opened.store), results_bucket=DATABASE_BUCKET)
        try:
            state = await stack.enter_async_context(job.share(backend))
        except FanfoldError:
            raise
        except Exception as error:
            raise FanfoldError(f"job {job.name}: its lifespan failed: {_reason(error)}") from error
        yield state


async def _begun(
    job: JobDefinition, params: Mapping[str, Any] | None, name: str, kept: InlineRunDatabase, backend: Backend
) -> Run:
    """Return the run as it was planned when its first segment was cut; plan it, if this is the first time."""
    known = kept.run()
    if known is None:
        given = dict(params or {})
        plan = await job.source_of(given).pin(backend, source_prefix(name))
        kept.begin(Run(name, job.name, given, plan, created_at=backend.now(), expires_at=0))
        known = kept.run()
        assert known is not None  # noqa: S101 - just written
    if known.job != job.name:
        raise ConfigurationError(f"run {name} is one of job {known.job!r}: give this run another name")
    if params is not None and dict(params) != known.params:
        raise ConfigurationError(
            f"run {name} was begun with params {json.dumps(known.params)}: give the same, none, or another name"
        )
    return known


def _wanted(total: int, only: Collection[int] | None, kept: InlineRunDatabase) -> Collection[int]:
    if only is None:
        return {segment for segment in range(total) if not kept.is_done(segment)}
    if wrong := [segment for segment in only if type(segment) is not int or not 0 <= segment < total]:
        where = f", from 0 to {total - 1}" if total else ""
        raise ConfigurationError(f"there is no segment {wrong[0]!r}: the run has {total}{where}")
    return set(only)


async def _work(
    segment: Segment,
    run: Run,
    function: Callable[..., Any],
    state: JobState,
    kept: InlineRunDatabase,
    failures: FailureLog,
) -> None:
    """Work on a segment and keep how it ended; whatever its handler does, the others carry on."""
    record = Record({"messageId": f"of segment {segment.number}", "body": segment.to_body()})
    context = Context(record, BatchContext(None, Deadline.never(), state))
    try:
        ended = await process_segment(segment, run, function, record, context, 0)
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        kept.failed(segment.number, _reason(error))
        failures.add(record, error)
    else:
        kept.done(segment.number, ended.result, ended.items)


async def _folded(fold: Callable[..., Any], kept: InlineRunDatabase, home: Path | None) -> Any:
    try:
        value = await apply(fold, kept.results())
    except FanfoldError:
        raise
    except Exception as error:
        logger.exception("the fold failed")
        raise FanfoldError(f"the fold failed: {_reason(error)}") from error
    if isinstance(value, File):
        if home is None:
            return value
        value = _placed(value, home)
    data = to_json(value)
    if home is not None:
        (home / OUTPUT_FILE).write_bytes(data)
    return json.loads(data)


def _placed(file: File, home: Path) -> dict[str, Any]:
    target = home / file.name
    with file.on_disk() as path:
        shutil.copyfile(path, target)
    return file_reference(file, str(target), target.stat().st_size)


def _evenness(total: int, items: Mapping[int, int]) -> Evenness | None:
    tally = Tally(total)
    tally.add(Marker("", 0, ids=list(items), items=list(items.values())))
    return tally.evenness()


def _reason(error: BaseException) -> str:
    return reason_of(error)[:REASON_CHARACTERS]
