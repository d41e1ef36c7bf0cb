"""The end of a run: which failures are tolerated, and the notification."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from fanfold._base import aws_limits
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run
from fanfold.errors import ConfigurationError

_MAX_LISTED_FAILURES: Final = 50
"""Failures listed in a notification; ``all_failures`` links the complete list."""


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
    run = await backend.ledger.run(run_id)
    if run is None or not run.ended or run.notified:
        return
    subject = f"fanfold: {run.job} {run.state}".encode("ascii", "replace").decode()[: aws_limits.SNS_SUBJECT_CHARACTERS]
    await notifier.publish(subject, json.dumps(await _notification(run, backend), ensure_ascii=False, indent=1))
    await backend.ledger.notified(run_id, gen=run.gen)


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
        listed = json.loads(await backend.get_result(run.failures_key()))["segments"]
        notification["failures"] = dict(list(listed.items())[:_MAX_LISTED_FAILURES])
        notification["all_failures"] = f"s3://{backend.results_bucket}/{run.failures_key()}"
    return notification


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
