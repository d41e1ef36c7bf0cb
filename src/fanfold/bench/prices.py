"""Prices of a Region on a date, and the price of an invocation."""

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
    """Prices of Lambda and SQS in a Region, in US dollars."""

    region: str
    """The AWS Region."""
    as_of: str
    """Year and month of the prices."""
    architecture: str
    """``x86`` or ``arm``. Measurements use this machine's processor in any case."""
    gb_second: float
    """Price of a GB-second."""
    requests_million: float
    """Price of a million invocations."""
    sqs_million: float
    """Price of a million requests to a standard queue."""

    def invocation(self, seconds: float, memory_mb: float) -> float:
        """Return the price of one invocation: its duration, rounded up to 1 ms, and the request."""
        steps = math.ceil(round(seconds / LAMBDA_BILLED_STEP_SECONDS, 6))
        billed = steps * LAMBDA_BILLED_STEP_SECONDS * memory_mb / 1024 * self.gb_second
        return billed + self.requests_million / 1_000_000


def prices_of(architecture: str, file: Path | None = None) -> Prices:
    """Return the prices of an architecture.

    Args:
        architecture: ``x86`` or ``arm``.
        file: Custom prices, in the format of ``fanfold/_base/prices.json``; None for that file.

    Raises:
        ConfigurationError: If the file cannot be read, or does not have that format.
    """
    document = read_prices(file)
    try:
        return Prices(
            region=str(document["region"]),
            as_of=str(document["as_of"]),
            architecture=architecture,
            gb_second=_price(document[architecture]["gb_second"]),
            requests_million=_price(document[architecture]["requests_million"]),
            sqs_million=_price(document["sqs"]["standard_million"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{file} does not have the format of fanfold/_base/prices.json: {type(error).__name__}: {error}"
        ) from error


def _price(value: Any) -> float:
    price = float(value)
    if not 0 < price < math.inf:  # costs are compared as ratios
        raise ValueError(f"{value} is not a price above 0")
    return price
