"""Price the orders from a queue. An order without a price is sent to the dead-letter queue with the reason."""

from __future__ import annotations

import logging
from typing import Any

import fanfold

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


@fanfold.consumer(
    concurrency=100,  # concurrent orders in one execution environment
    timeout=20,  # seconds for one order
    backoff=fanfold.Backoff(base=5, cap=900),  # failed messages are redelivered after 2.5-5 s, 5-10 s, 10-20 s …
    reject_on=(KeyError, TypeError),  # errors that a retry cannot fix: sent to the dead-letter queue
)
async def handler(order: dict[str, Any]) -> float:
    """Price one order. After any other error, the message is redelivered."""
    total = price(order)
    logger.info("order %s: %.2f", order["order"], total)
    return total


def price(order: dict[str, Any]) -> float:
    """Return the total of an order.

    Raises:
        fanfold.Reject: If the order has no lines.
        KeyError: If a line has no price or no count.
    """
    if not order.get("lines"):
        raise fanfold.Reject("an order without lines")
    return float(sum(line["price"] * line["count"] for line in order["lines"]))
