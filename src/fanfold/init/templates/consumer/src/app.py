"""Orders from the queue: each is priced; one that cannot be priced becomes a dead letter with the reason."""

from __future__ import annotations

import logging
from typing import Any

import fanfold

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


@fanfold.consumer(
    concurrency=100,  # orders at once in one execution environment
    timeout=20,  # seconds for one order
    backoff=fanfold.Backoff(base=5, cap=900),  # what failed stays hidden 2.5-5 s, 5-10 s, 10-20 s …
    reject_on=(KeyError, TypeError),  # errors that no further delivery mends
)
async def handler(order: dict[str, Any]) -> float:
    """Price one order. Whatever else is raised brings the message back; a Reject makes it a dead letter."""
    total = price(order)
    logger.info("order %s: %.2f", order["order"], total)
    return total


def price(order: dict[str, Any]) -> float:
    """Return what an order comes to.

    Raises:
        fanfold.Reject: If there is nothing to price.
        KeyError: If a line has no price or no count.
    """
    if not order.get("lines"):
        raise fanfold.Reject("an order without lines")
    return float(sum(line["price"] * line["count"] for line in order["lines"]))
