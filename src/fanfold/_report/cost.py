"""The estimated cost of a run, from the times that are known and AWS's prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._base import aws_limits
from fanfold._base.aws_prices import read_prices
from fanfold._ports.ledger_encoding import MARKER_WRITE_UNITS
from fanfold._report.columns import Columns

BATCH_SIZE: Final = 10
"""Messages per batch that the estimate assumes; Lambda's default."""
DEFAULT_MEMORY_MB: Final = 1_769
"""Memory of the segment function in the template."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One part of the cost."""

    name: str
    """The service and the unit."""
    amount: str
    """Number of units."""
    dollars: float
    """US dollars."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The estimated cost of a run."""

    lines: Sequence[CostLine]
    """By service."""
    note: str
    """Assumptions, and the date of the prices."""

    @property
    def dollars(self) -> float:
        """The total in US dollars."""
        return math.fsum(line.dollars for line in self.lines)


def cost_of(columns: Columns, deliveries: int, memory_mb: int) -> Cost:
    """Return the estimated cost of a run.

    Lambda bills the duration of an invocation, which processes a batch of segments concurrently. The estimate is the
    time in which an execution environment processed at least one segment.

    Args:
        columns: The segments and the failed deliveries.
        deliveries: Deliveries of segments.
        memory_mb: Memory of the segment function.
    """
    prices, batches = read_prices(), math.ceil(deliveries / BATCH_SIZE)
    seconds, units = busy_seconds(columns), MARKER_WRITE_UNITS * batches
    requests = 3 * math.ceil(deliveries / aws_limits.SQS_BATCH_ENTRIES)  # send, receive, delete
    gb_seconds = seconds * memory_mb / 1024
    lines = [
        CostLine("Lambda, GB-seconds", f"{gb_seconds:,.1f}", gb_seconds * prices["arm"]["gb_second"]),
        CostLine("Lambda, invocations", f"{batches:,}", batches * prices["arm"]["requests_million"] / 1e6),
        CostLine("SQS, requests", f"{requests:,}", requests * prices["sqs"]["standard_million"] / 1e6),
        CostLine("DynamoDB, write units", f"{units:,}", units * prices["dynamodb"]["write_units_million"] / 1e6),
    ]
    note = (
        f"Prices of {prices['region']}, {prices['as_of']}, arm64, without the free tier. Assumes {memory_mb:,} MB and "
        f"batches of {BATCH_SIZE} segments. Excludes the fold, S3, logs, cold starts, and Step Functions transitions."
    )
    return Cost(lines, note)


def busy_seconds(columns: Columns) -> float:
    """Return for how long execution environments processed at least one segment, summed over all environments."""
    began, ended, environment = columns.began, columns.ended, columns.environment
    rows = columns.with_begin(row for row in range(len(columns)) if not math.isnan(ended[row]))
    until = [-math.inf] * len(columns.environments)
    total = 0.0
    for row in rows:
        index, start, end = environment[row], began[row], ended[row]
        if columns.environments[index] is None:
            total += end - start  # unknown, so none of them overlap
        elif end > until[index]:
            total += end - max(start, until[index])
            until[index] = end
    return total


def dollars_text(dollars: float) -> str:
    """Return an amount with at least two significant digits."""
    if dollars <= 0:
        return "$0"
    return f"${dollars:,.2f}" if dollars >= 0.1 else f"${dollars:.{1 - math.floor(math.log10(dollars))}f}"  # noqa: PLR2004
