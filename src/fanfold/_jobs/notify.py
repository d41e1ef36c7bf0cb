"""How a run ends: what failures it bears, and who is told."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from fanfold._base import aws_limits
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run
from fanfold.errors import ConfigurationError

_MOST_TOLD: Final = 50
"""Failures in a notification; the rest stands in the list that it names."""


def is_tolerated(failed: int, total: int, tolerated: float) -> bool:
    """Tell whether a run succeeds with so many failed segments.

    Args:
        failed: Segments that failed for good.
        total: Segments of the run.
        tolerated: How many may, as a whole number; as a share of all, rounded down, as a float under 1.
    """
    return failed <= (math.floor(tolerated * total) if isinstance(tolerated, float) else tolerated)


async def notify_run_ended(run_id: str, backend: Backend) -> None:
    """Tell of the end of a run, unless that was done; at least once, since it is told before it is noted.

    Raises:
        FanfoldError: If the notifier or the ledger fails; the message that led here comes back.
    """
    if (notifier := backend.notifier) is None:
        return
    run = await backend.ledger.run(run_id)
    if run is None or not run.ended or run.notified:
        return
    subject = f"fanfold: {run.job} {run.state}".encode("ascii", "replace").decode()[: aws_limits.SNS_SUBJECT_CHARACTERS]
    await notifier.publish(subject, json.dumps(await _told(run, backend), ensure_ascii=False, indent=1))
    await backend.ledger.notified(run_id, gen=run.gen)


async def _told(run: Run, backend: Backend) -> dict[str, Any]:
    told: dict[str, Any] = {
        "run": run.id,
        "job": run.job,
        "generation": run.gen,
        "state": run.state,
        "output": f"s3://{backend.results_bucket}/{run.output}",
        "failed": run.failed,
    }
    if run.failed:
        listed = json.loads(await backend.get_result(run.failures_key()))["segments"]
        told["failures"] = dict(list(listed.items())[:_MOST_TOLD])
        told["all_failures"] = f"s3://{backend.results_bucket}/{run.failures_key()}"
    return told


def check_tolerance(value: object) -> float:
    """Return how many segments may fail, a whole number, or their share of all, a float.

    Raises:
        ConfigurationError: If it is neither.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not whole and not (isinstance(value, float) and 0 <= value < 1):
        raise ConfigurationError(
            f"tolerated_failures must be a whole number from 0, or a share from 0.0 and under 1, not {value!r}"
        )
    return value  # type: ignore[return-value] # a number
