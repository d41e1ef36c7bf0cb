"""The result of an invocation: the response, the error, and the REPORT line at the end of the log."""

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
"""The last log line of an invocation (Lambda developer guide, "Log and monitor Python functions")."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of an invocation."""

    payload: str
    """Response payload, JSON."""
    error: str | None
    """Error of the invocation; None if the handler returned."""
    seconds: float
    """Duration from Lambda's REPORT line or, without one, measured by the caller."""
    reported: bool
    """True if the log has a REPORT line."""
    peak_memory_mb: float | None
    """Maximum memory used in the execution environment so far, from the REPORT line."""
    init_seconds: float | None
    """Init duration of the execution environment, from the REPORT line; None for a warm start."""
    waited_seconds: float
    """Duration measured by the caller."""

    @property
    def out_of_memory(self) -> bool:
        """True if the function ran out of memory."""
        return self.error is not None and ("OutOfMemory" in self.error or "signal: killed" in self.error)

    @property
    def timed_out(self) -> bool:
        """True if the invocation timed out."""
        return self.error is not None and "timed out" in self.error.lower()


def report_of(payload: str, response: Mapping[str, Any], waited_seconds: float) -> Report:
    """Return the result of an invocation.

    Args:
        payload: The response payload of the function.
        response: Lambda's response to ``Invoke`` with ``LogType=Tail``.
        waited_seconds: Duration of the call in seconds.
    """
    log = base64.b64decode(response.get("LogResult") or "").decode("utf-8", "replace")
    line = _LINE.search(log)
    init = line["init"] if line else None
    error = f"{payload} {log[log.rfind('REPORT') :] if line else ''}".strip() if response.get("FunctionError") else None
    return Report(
        payload=payload,
        error=error,
        seconds=float(line["seconds"]) / 1000 if line else waited_seconds,
        reported=line is not None,
        peak_memory_mb=float(line["peak"]) if line else None,
        init_seconds=None if init is None else float(init) / 1000,
        waited_seconds=waited_seconds,
    )
