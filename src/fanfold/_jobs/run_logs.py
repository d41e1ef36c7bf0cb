"""The log lines of a run or of some of its segments, found by what the ledger and the lines themselves state.

1. A line that contains the id of the run, such as a line of fanfold or a structured line of ``RecordLogging``.
2. A line of an invocation in which an attempt failed: between its START and REPORT lines.
3. A line of the execution environment in which a segment ended, at that time.

A line that names another segment, or another run, does not belong to a segment.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, Final

from fanfold._jobs.run_columns import SegmentEnd
from fanfold._jobs.run_details import RunDetails
from fanfold._ports.logs import LogGroups, LogLine
from fanfold._ports.run import Attempt

MAX_INVOCATIONS: Final = 50
"""Maximum number of invocations with failed attempts whose lines are read; the latest."""
MARGIN_SECONDS: Final = 5.0
"""Clocks of the ledger and of the logs may differ by this much."""
_INVOCATION_SECONDS: Final = 5_400.0
"""Maximum duration of an invocation."""
_BOUNDARY: Final = re.compile(r"(START|REPORT) RequestId: (\S+)")
_PLATFORM: Final = {"platform.start": "START", "platform.report": "REPORT"}
_SEGMENT: Final = re.compile(r"\bsegment (\d{1,15})\b")


async def lines_of(
    details: RunDetails, segments: Collection[int] | None, logs: LogGroups, *, most: int
) -> tuple[Sequence[LogLine], bool]:
    """Return log lines by time, and whether there are more.

    Args:
        details: The run.
        segments: The segments; None for the whole run.
        logs: The logs of its functions.
        most: Maximum number of lines.

    Raises:
        ConfigurationError: If a log group does not exist, or access is denied.
    """
    run = details.run
    lines: dict[LogLine, None] = {}  # as a set, in order
    async for line in _candidates(details, segments, logs):
        if _may_belong(line.text, run.id, segments):
            lines[line] = None
            if len(lines) > most:
                break
    ordered = sorted(lines, key=lambda line: line.at)
    return ordered[:most], len(ordered) > most


async def _candidates(details: RunDetails, segments: Collection[int] | None, logs: LogGroups) -> AsyncIterator[LogLine]:
    run = details.run
    for attempt in latest(one for one in details.attempts() if segments is None or one.segment in segments):
        async for line in _of_invocation(attempt, logs):
            yield line
    for ended in details.ends():
        if segments is not None and ended.segment in segments:
            async for line in _of_end(ended, logs):
                yield line
    end = (details.now if run.ended_at is None else run.ended_at) + _INVOCATION_SECONDS
    async for line in logs.search(run.created_at - MARGIN_SECONDS, end, text=run.id):
        if segments is None or _segment_in(line.text) in segments:
            yield line


def latest(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return the latest attempts, one for each invocation, in order."""
    by_invocation = {one.request_id: one for one in sorted(attempts, key=lambda one: one.began_at) if one.request_id}
    return list(by_invocation.values())[-MAX_INVOCATIONS:]


def failed_segments(details: RunDetails) -> set[int]:
    """Return the segments that have failed permanently, or are failing."""
    return {segment for group in (*details.failing_now, *details.failed_groups) for segment in group.segments}


async def _of_invocation(attempt: Attempt, logs: LogGroups) -> AsyncIterator[LogLine]:
    """Yield the lines between START and REPORT of an invocation."""
    begin, end = attempt.began_at - _INVOCATION_SECONDS, attempt.began_at + _INVOCATION_SECONDS
    streams: dict[str, float] = {}
    async for line in logs.search(begin, end, text=attempt.request_id):
        if (attempt.request_id, "START") == _boundary_in(line.text):
            streams[line.stream] = line.at
    for stream, started_at in streams.items():
        is_inside = False
        async for line in logs.search(started_at, end, stream=stream):
            request_id, kind = _boundary_in(line.text)
            if request_id == attempt.request_id:
                is_inside = True
            elif kind == "START":  # of a concurrent invocation in the same environment, or of the next one
                is_inside = False
            if is_inside:
                yield line
            if (request_id, kind) == (attempt.request_id, "REPORT"):
                break


async def _of_end(ended: SegmentEnd, logs: LogGroups) -> AsyncIterator[LogLine]:
    """Yield the lines of an execution environment while a handler processed a segment in it."""
    if ended.environment is None or ended.began_at is None or ended.seconds is None:
        return
    async for line in logs.search(ended.began_at, ended.began_at + ended.seconds, stream=ended.environment):
        yield line


def _boundary_in(text: str) -> tuple[str | None, str | None]:
    """Return the request id and START or REPORT, if a line starts or ends an invocation, in either log format."""
    if match := _BOUNDARY.match(text):
        return match[2], match[1]
    document = _json_in(text)
    kind, record = _PLATFORM.get(str(document.get("type"))), document.get("record")
    return (record.get("requestId"), kind) if kind and isinstance(record, dict) else (None, None)


def _may_belong(text: str, run_id: str, segments: Collection[int] | None) -> bool:
    """Return whether a line names neither another run nor another segment."""
    run = _json_in(text).get("run")
    if isinstance(run, str) and run != run_id:
        return False
    segment = _segment_in(text)
    return segments is None or segment is None or segment in segments


def _segment_in(text: str) -> int | None:
    """Return the segment that a line names; None if it names none."""
    segment: Any = _json_in(text).get("segment")
    if isinstance(segment, int):
        return segment
    match = _SEGMENT.search(text)
    return int(match[1]) if match else None


def _json_in(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
