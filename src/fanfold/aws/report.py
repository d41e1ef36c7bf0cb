"""What Lambda tells of an invocation: its answer, its error, and the report at the end of its log."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_LINE: Final = re.compile(
    r"REPORT RequestId: \S+\s+Duration: (?P<seconds>[\d.]+) ms.*?Memory Size: (?P<memory>\d+) MB\s+"
    r"Max Memory Used: (?P<peak>\d+) MB(?:\s+Init Duration: (?P<init>[\d.]+) ms)?",
    re.DOTALL,
)
"""The last line Lambda writes about an invocation (Lambda developer guide, "Log and monitor Python functions")."""


@dataclass(frozen=True, slots=True)
class Report:
    """An invocation that has ended."""

    payload: str
    """What it answered, JSON."""
    error: str | None
    """What it failed with; None if it returned."""
    seconds: float
    """How long it took: by Lambda's report where there is one, else by the clock here."""
    reported: bool
    """Whether there was a report."""
    peak_memory_mb: float | None
    """Most memory used in its execution environment so far, by Lambda's report."""
    init_seconds: float | None
    """What starting its execution environment took, by Lambda's report; None if it was warm."""
    waited_seconds: float
    """How long it took by the clock here."""

    @property
    def out_of_memory(self) -> bool:
        """Whether it ended because its memory was used up."""
        return self.error is not None and ("OutOfMemory" in self.error or "signal: killed" in self.error)

    @property
    def timed_out(self) -> bool:
        """Whether it ended because its time was over."""
        return self.error is not None and "timed out" in self.error.lower()


def report_of(payload: str, answer: Mapping[str, Any], waited: float) -> Report:
    """Return what Lambda told.

    Args:
        payload: What the function answered.
        answer: Lambda's answer to ``Invoke`` with ``LogType=Tail``.
        waited: Seconds the call took.
    """
    log = base64.b64decode(answer.get("LogResult") or "").decode("utf-8", "replace")
    line = _LINE.search(log)
    init = line["init"] if line else None
    error = f"{payload} {log[log.rfind('REPORT') :] if line else ''}".strip() if answer.get("FunctionError") else None
    return Report(
        payload=payload,
        error=error,
        seconds=float(line["seconds"]) / 1000 if line else waited,
        reported=line is not None,
        peak_memory_mb=float(line["peak"]) if line else None,
        init_seconds=None if init is None else float(init) / 1000,
        waited_seconds=waited,
    )
