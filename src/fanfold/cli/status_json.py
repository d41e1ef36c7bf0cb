"""The status of a run as one JSON document, in pieces, because it lists every segment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from fanfold._jobs.failure_groups import FailureGroup
from fanfold._jobs.masking import masked
from fanfold._jobs.run_details import RunDetails
from fanfold._report.page import RunPage

_REPORT = ("total", "is_enqueued", "is_exact", "done", "failing", "missing", "deliveries", "retries",
           "failed_attempts", "duplicates", "continued", "most_parts", "bad_rows", "rate", "estimated_end",
           "elapsed")  # fmt: skip


def status_json(source: RunPage) -> Iterator[str]:
    """Yield the pieces of the document."""
    details, run = source.details, source.run
    document = {
        "run": run.id,
        "job": run.job,
        "state": run.state,
        "generation": run.gen,
        "params": masked(run.params),
        "output": run.output,
        "failed": details.failed,
        "fold_failure": source.fold_failure,
        "created_at": run.created_at,
        "ended_at": run.ended_at,
        "report": _report(details),
        "queue": None if source.queue is None else asdict(source.queue),
        "failing_now": [_group(group) for group in details.failing_now],
        "failed_groups": [_group(group) for group in details.failed_groups],
    }
    yield json.dumps(document)[:-1]
    yield ', "segments": ['
    for number, segment in enumerate(_segments(details)):
        yield f"{', ' if number else ''}{json.dumps(segment)}"
    yield "]}"


def _report(details: RunDetails) -> Mapping[str, Any]:
    report = {name: getattr(details, name) for name in _REPORT}
    for name in ("items", "seconds"):
        spread = getattr(details, name)
        report[name] = None if spread is None else asdict(spread)
    return report


def _group(group: FailureGroup) -> Mapping[str, Any]:
    document = {name: getattr(group, name) for name in ("error", "message", "place", "count", "highest_attempt",
                                                         "max_attempts")}  # fmt: skip
    example = None if group.example is None else asdict(group.example)
    return {**document, "segments": list(group.segments), "example": example}


def _segments(details: RunDetails) -> Iterator[Mapping[str, Any]]:
    """Yield the segments that have ended, then those that are failing; the state of the others is not known."""
    for end in details.ends():
        state = "done" if end.reason is None else "failed"
        fields = ("gen", "began_at", "ended_at", "seconds", "attempts", "parts", "items", "environment", "reason")
        yield {"segment": end.segment, "state": state, **{name: getattr(end, name) for name in fields}}
    for group in details.failing_now:
        for segment in group.segments:
            yield {"segment": segment, "state": "failing", "reason": f"{group.error}: {group.message}"}
