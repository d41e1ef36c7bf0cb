"""Attempts of a batch: when each segment started, and why it failed. The failed ones are written once, at its end.

A healthy batch writes nothing: the times of the segments that are done are part of their marker.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from fanfold._base.context import BatchContext, Context
from fanfold._base.dead_letter import configured_max_receives, deliveries_of, earlier_deliveries, tag_of
from fanfold._base.deadline import Deadline
from fanfold._base.error_text import message_of, storable
from fanfold._base.log import logger
from fanfold._jobs.job_state import JobState
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_result import Timing
from fanfold._ports.run import Attempt, FailedBatch
from fanfold.errors import FanfoldError

MESSAGE_CHARACTERS: Final = 200
"""Length to which the first line of an error is truncated."""
_KEY: Final = "_attempts"
"""Key among the values that a batch shares; not valid as the name of a run."""
_LIBRARIES: Final = ("site-packages", "dist-packages", "opt/python")
_TIMEOUT: Final = "TimeoutError"


@dataclass(frozen=True, slots=True)
class _Started:
    segment: Segment
    number: int
    message: tuple[int, int]
    timing: Timing
    began: float
    max_number: int | None


class BatchAttempts:
    """The attempts of one batch."""

    def __init__(self, batch: BatchContext[JobState]) -> None:
        self._batch = batch
        self._running: dict[int, _Started] = {}
        self._failed: list[tuple[str, Attempt]] = []

    @contextmanager
    def attempt(self, segment: Segment, ctx: Context[JobState]) -> Iterator[Timing]:
        """Measure the attempt inside the block; if it raises, the attempt has failed."""
        deadline, now = self._batch.deadline, self._batch.state.backend.now()
        message = tag_of(ctx.record), earlier_deliveries(ctx.record)
        most = configured_max_receives() if ctx.record.queue_arn else None
        if most is not None:
            most += message[1]  # its message counts from 1 again
        started = _Started(segment, deliveries_of(ctx.record), message, Timing(now), deadline.clock(), most)
        self._running[id(started)] = started
        try:
            yield started.timing
        except GeneratorExit:  # the loop is closed under an abandoned handler
            raise
        except BaseException as error:
            if self._running.pop(id(started), None) is not None:
                self._add(started, *_texts_of(error, deadline), place=_place_of(error.__traceback__))
            raise
        else:
            started.timing.seconds = max(0.0, deadline.clock() - started.began)
            self._running.pop(id(started), None)

    def take_failed(self) -> list[tuple[str, Attempt]]:
        """Return the failed attempts with their runs; those that still run have failed, too."""
        for started in list(self._running.values()):
            self._running.pop(id(started), None)
            self._add(started, _TIMEOUT, "still running when the batch response was due", place=None)
        failed, self._failed = self._failed, []
        return failed

    def _add(self, started: _Started, error: str, message: str, *, place: str | None) -> None:
        segment = started.segment
        attempt = Attempt(
            segment=segment.number,
            gen=segment.gen,
            hop=segment.hop,
            number=started.number,
            began_at=round(started.timing.began_at, 3),
            seconds=round(max(0.0, self._batch.deadline.clock() - started.began), 3),
            error=error,
            message=message,
            place=place,
            request_id=_text_or_none(getattr(self._batch.lambda_context, "aws_request_id", None)),
            log_stream=environment_of(self._batch),
            max_number=started.max_number,
            tag=started.message[0],
            earlier=started.message[1],
        )
        self._failed.append((segment.run, attempt))


def attempts_of(batch: BatchContext[JobState]) -> BatchAttempts:
    """Return the attempts of a batch."""
    attempts: BatchAttempts = batch.shared.get(_KEY) or batch.shared.setdefault(_KEY, BatchAttempts(batch))
    return attempts


async def write_failed(batch: BatchContext[JobState]) -> None:
    """Write the failed attempts of a batch to the ledger: one item for each run and generation, normally one.

    An error is logged and changes no outcome; the receive counts of later deliveries still count these attempts.
    """
    if _KEY not in batch.shared:
        return
    failed = attempts_of(batch).take_failed()
    failed.sort(key=lambda placed: (placed[0], placed[1].gen))
    for (run, gen), group in groupby(failed, key=lambda placed: (placed[0], placed[1].gen)):
        attempts = [attempt for _, attempt in group]
        try:
            await batch.state.backend.ledger.put_attempts(run, FailedBatch(uuid.uuid4().hex, gen, attempts))
        except FanfoldError as error:
            logger.warning("run %s: could not record %d failed attempts: %s", run, len(attempts), error)


def environment_of(batch: BatchContext[Any]) -> str | None:
    """Return the log stream of the execution environment; None outside Lambda."""
    return _text_or_none(getattr(batch.lambda_context, "log_stream_name", None))


def attempt_outside_lambda(segment: int, timing: Timing, error: BaseException) -> Attempt:
    """Return the first failed attempt of a segment in an inline run."""
    texts = _texts_of(error, Deadline.never())
    times = round(timing.began_at, 3), round(timing.seconds, 3)
    return Attempt(segment, 0, 0, 1, *times, *texts, place=_place_of(error.__traceback__))


def _texts_of(error: BaseException, deadline: Deadline) -> tuple[str, str]:
    """Return the name of the type and the first line of an error."""
    if isinstance(error, asyncio.CancelledError) and deadline.clock() >= deadline.stops_at:
        return _TIMEOUT, "cancelled, because the invocation was about to time out"
    first = next(iter(message_of(error).strip().splitlines()), "")
    return _short_text(type(error).__qualname__), first[:MESSAGE_CHARACTERS]


def _text_or_none(value: object) -> str | None:
    return _short_text(value) if isinstance(value, str) and value else None


def _short_text(text: str) -> str:
    return storable(text, MESSAGE_CHARACTERS)


def _place_of(frames: TracebackType | None) -> str | None:
    """Return file and line of the innermost frame of the user's code; None if there is none."""
    place = None
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if _is_users(file):
            place = _short_text(f"{_short(file)}:{frames.tb_lineno}")
        frames = frames.tb_next
    return place


def _is_users(file: str) -> bool:
    path = file.replace(os.sep, "/")
    return not (path.startswith(("<", _PACKAGE, *_STANDARD)) or any(f"/{library}/" in path for library in _LIBRARIES))


def _short(file: str) -> str:
    """Return a path relative to the function's code, or to the current folder."""
    for root in (os.environ.get("LAMBDA_TASK_ROOT"), *sys.path[:1], str(Path.cwd())):
        if root and file.startswith(root.rstrip(os.sep) + os.sep):
            return file[len(root.rstrip(os.sep)) + 1 :]
    return Path(file).name


_PACKAGE: Final = str(Path(__file__).parent.parent).replace(os.sep, "/") + "/"
_STANDARD: Final = tuple(
    sorted({sysconfig.get_path(name).replace(os.sep, "/") + "/" for name in ("stdlib", "platstdlib")})
)
