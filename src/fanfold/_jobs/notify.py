"""The end of a run: which failures are tolerated, and the notification."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from fanfold._base import aws_limits
from fanfold._base.log import logger
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import ConfigurationError, FanfoldError, ObjectMissingError

if TYPE_CHECKING:  # as below
    from fanfold._jobs.failure_groups import FailureGroup

_MAX_LISTED_FAILURES: Final = 50
"""Failures listed in a notification; ``all_failures`` links the complete list."""
_MAX_ERRORS: Final = 10
"""Kinds of errors in the summary of a notification; the most frequent."""


def is_tolerated(failed: int, total: int, tolerated: float) -> bool:
    """Return whether a run succeeds despite this number of failed segments.

    Args:
        failed: Segments that failed permanently.
        total: Segments of the run.
        tolerated: Maximum number of failed segments as an integer, or their share of all as a float below 1, rounded
            down.
    """
    return failed <= (math.floor(tolerated * total) if isinstance(tolerated, float) else tolerated)


async def notify_run_ended(run_id: str, backend: Backend) -> None:
    """Send the notification of an ended run, unless the ledger has recorded that it was sent.

    The notification is sent at least once, because it is sent before that is recorded.

    Raises:
        FanfoldError: If the notifier or the ledger fails; the message of the fold queue is redelivered.
    """
    if (notifier := backend.notifier) is None:
        return
    run = await _unnotified(run_id, backend)
    if run is None:
        return
    subject = f"fanfold: {run.job} {run.state}".encode("ascii", "replace").decode()[: aws_limits.SNS_SUBJECT_CHARACTERS]
    body = json.dumps(await _notification(run, backend), ensure_ascii=False, indent=1)
    body = body.encode(errors="backslashreplace").decode()  # half of a surrogate pair: its escape is JSON, too
    current = await _unnotified(run_id, backend)  # meanwhile, another check may have sent it
    if current is None or current.gen != run.gen:
        return
    await notifier.publish(subject, body)
    await backend.ledger.notified(run_id, gen=run.gen)


async def listed_failures(run: Run, backend: Backend) -> dict[int, str]:
    """Return the reason by segment, as the fold of a run listed them; nothing if its list cannot be read."""
    try:
        listed = json.loads(await backend.get_result(run.failures_key()))["segments"]
        return {int(segment): str(reason) for segment, reason in listed.items()}
    except (ObjectMissingError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


async def _unnotified(run_id: str, backend: Backend) -> Run | None:
    """Return a run that has ended and whose notification has not been sent; None otherwise."""
    run = await backend.ledger.run(run_id)
    return None if run is None or not run.ended or run.notified else run


async def _notification(run: Run, backend: Backend) -> dict[str, Any]:
    notification: dict[str, Any] = {
        "run": run.id,
        "job": run.job,
        "generation": run.gen,
        "state": run.state,
        "output": None if run.output is None else f"s3://{backend.results_bucket}/{run.output}",
        "failed": run.failed,
    }
    if run.failed:
        listed = await listed_failures(run, backend)
        notification["failures"] = dict(list(listed.items())[:_MAX_LISTED_FAILURES])
        notification["all_failures"] = f"s3://{backend.results_bucket}/{run.failures_key()}"
    commands = {"status": f"fanfold status {run.id}"}
    if run.failed or run.state != RunState.SUCCEEDED:
        commands["redrive"] = f"fanfold redrive {run.id}"
    return {**notification, "summary": await _summary(run, backend), "commands": commands}


async def _summary(run: Run, backend: Backend) -> dict[str, Any] | None:
    """Return the counts of a run and its most frequent errors; None if the ledger cannot be read."""
    from fanfold._jobs.run_details import read_details  # imported here to keep cold starts short

    try:
        details = await read_details(run, backend)
    except FanfoldError as error:
        logger.warning("run %s: the notification has no summary: %s", run.id, error)
        return None
    names = ("total", "done", "failed", "missing", "deliveries", "retries", "duplicates")
    return {
        **{name: getattr(details, name) for name in names},
        "is_exact": details.is_exact,
        "seconds": round(details.elapsed, 3),
        "errors": [_error_in(group) for group in [*details.failed_groups, *details.failing_now][:_MAX_ERRORS]],
    }


def _error_in(group: FailureGroup) -> dict[str, Any]:
    return {
        "error": f"{group.error}: {group.message}" if group.error else group.message,
        "place": group.place,
        "segments": group.count,
        "first_segment": group.segments[0],
    }


def check_tolerance(value: object) -> float:
    """Return how many segments may fail: an integer count, or a share of all as a float.

    Raises:
        ConfigurationError: If the value is neither.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not whole and not (isinstance(value, float) and 0 <= value < 1):
        raise ConfigurationError(
            f"tolerated_failures must be an integer of at least 0, or a float from 0.0 to below 1, not {value!r}"
        )
    return value  # type: ignore[return-value] # an int or a float, as checked
