"""Samples of a deployed function. A new setting starts a new execution environment, which is then invoked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

from fanfold._replay.mapping import Returned
from fanfold.aws.report import Report
from fanfold.bench.batches import Batches, retried
from fanfold.bench.cells import FAILED, MEASURED, OUT_OF_MEMORY, TIMED_OUT, Sample, Setting

LIMITS: Final = "limits enforced by the service that runs the function"
"""The description of the limits in a result."""
UNREPORTED: Final = (
    "The service reports no durations. They were measured on this machine, include the network, and differ from "
    "Lambda's."
)
"""The note in a result if an invocation reported no duration."""


@dataclass(slots=True)
class DeployedMeasurer:
    """Measures a deployed function."""

    set: Callable[[Setting], None]
    """Applies a setting to the function, and waits until it is effective."""
    invoke: Callable[[Mapping[str, Any]], Report]
    """Invokes the function with an event."""
    batches: Batches
    """The batches to invoke it with."""
    seconds: float = 2.0
    """Minimum duration of a sample. A sample ends with a batch."""
    unreported: bool = field(init=False, default=False)
    """True if a duration had to be measured on this machine."""

    def __call__(self, setting: Setting, repeat: int) -> Sample:
        """Return a sample of a setting."""
        self.set(setting)
        first = self._invoked(self.batches.first(1))
        warmed = self._invoked(self.batches.warm_up(setting.concurrency))
        for report in (first, warmed):
            if report.error is not None:
                return _ended(setting, repeat, report)
        cold = first.waited_seconds if first.init_seconds is None else first.init_seconds + first.seconds
        durations: list[float] = []
        records = failed = 0
        peak = warmed.peak_memory_mb
        for event in cycle(self.batches.events):
            report = self._invoked(event)
            if report.error is not None:
                return _ended(setting, repeat, report)
            durations.append(round(report.seconds, 6))
            records += len(event["Records"])
            failed += retried(Returned(report.payload), event)
            peak = report.peak_memory_mb if peak is None else max(peak, report.peak_memory_mb or 0.0)
            if sum(durations) >= self.seconds:
                break
        return Sample(
            setting,
            repeat,
            MEASURED,
            records=records,
            failed=failed,
            batch_seconds=tuple(durations),
            peak_memory_mb=peak,
            cold_start_seconds=cold,
        )

    def _invoked(self, event: Mapping[str, Any]) -> Report:
        report = self.invoke(event)
        self.unreported = self.unreported or not report.reported
        return report


def _ended(setting: Setting, repeat: int, report: Report) -> Sample:
    end = OUT_OF_MEMORY if report.out_of_memory else TIMED_OUT if report.timed_out else FAILED
    return Sample(setting, repeat, end, _reason(report.error or ""))


def _reason(error: str) -> str:
    """Return the error of a function as text."""
    try:
        document = json.JSONDecoder().raw_decode(error)[0]
        return f"{document['errorType']}: {document['errorMessage']}"
    except (ValueError, KeyError, TypeError):
        return error[:200]
