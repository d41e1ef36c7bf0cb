"""Prices: data with a region and a date, and what an invocation costs by them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fanfold._base.aws_limits import LAMBDA_BILLED_STEP_SECONDS
from fanfold._base.aws_prices import read_prices
from fanfold.errors import ConfigurationError

ARCHITECTURES: Final = ("x86", "arm")


@dataclass(frozen=True, slots=True)
class Prices:
    """What Lambda and SQS cost in a region, US dollars."""

    region: str
    """Where."""
    as_of: str
    """When they were looked up, year and month."""
    architecture: str
    """``x86`` or ``arm``. What runs here runs on this machine's processor all the same."""
    gb_second: float
    """Of a GB for a second."""
    requests_million: float
    """Of a million invocations."""
    sqs_million: float
    """Of a million requests to a standard queue."""

    def invocation(self, seconds: float, memory_mb: float) -> float:
        """Return what one invocation costs: its duration in steps of 1 ms, and the request."""
        steps = math.ceil(round(seconds / LAMBDA_BILLED_STEP_SECONDS, 6))
        billed = steps * LAMBDA_BILLED_STEP_SECONDS * memory_mb / 1024 * self.gb_second
        return billed + self.requests_million / 1_000_000


def prices_of(architecture: str, file: Path | None = None) -> Prices:
    """Return the prices of an architecture.

    Args:
        architecture: ``x86`` or ``arm``.
        file: Your own prices, in the form of ``fanfold/_base/prices.json``; None for that file itself.

    Raises:
        ConfigurationError: If the file cannot be read or is not of that form.
    """
    given = read_prices(file)
    try:
        return Prices(
            region=str(given["region"]),
            as_of=str(given["as_of"]),
            architecture=architecture,
            gb_second=_price(given[architecture]["gb_second"]),
            requests_million=_price(given[architecture]["requests_million"]),
            sqs_million=_price(given["sqs"]["standard_million"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file}: these are no prices, {type(error).__name__}: {error}") from error


def _price(given: Any) -> float:
    price = float(given)
    if not 0 < price < math.inf:  # costs are compared as ratios
        raise ValueError(f"{given} is no price above 0")
    return price
