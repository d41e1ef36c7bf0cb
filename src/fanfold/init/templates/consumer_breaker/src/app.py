"""Price the orders from a queue, and book each total with a service that can be down.

While the service is down, a breaker keeps the messages in the queue: none is dead-lettered because of the outage.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import anyio

import fanfold

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)
SERVER_ERROR = 500


def is_down(error: BaseException) -> bool:
    """Return whether an error means that the service is down: no connection, a timeout, or HTTP 5xx."""
    if isinstance(error, HTTPError):
        return error.code >= SERVER_ERROR
    return isinstance(error, OSError)


@fanfold.consumer(
    concurrency=100,  # concurrent orders in one execution environment
    timeout=20,  # seconds for one order
    backoff=fanfold.Backoff(base=60, cap=900),  # at least 30 s, so that two failures of one message open the breaker
    reject_on=(KeyError, TypeError),  # errors that a retry cannot fix: sent to the dead-letter queue
    breaker=fanfold.Breaker(
        "booking",
        on=is_down,
        outage_budget=12 * 3600,  # seconds for which the messages can wait; below the retention of the queue
        last="copy",  # a message on its last receive is sent to the queue again
    ),
)
async def handler(order: dict[str, Any]) -> float:
    """Price and book one order. After any other error, the message is redelivered."""
    total = price(order)
    await book(order["order"], total)
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


async def book(order: str, total: float) -> None:
    """Post a total to the service that SERVICE_URL names; nothing if it is not set. Replace it by your own call."""
    if url := os.environ.get("SERVICE_URL"):
        body = json.dumps({"order": order, "total": total}).encode()
        await anyio.to_thread.run_sync(_send, Request(url, body, {"Content-Type": "application/json"}))  # noqa: S310


def _send(request: Request) -> None:
    with urlopen(request, timeout=5):  # noqa: S310 - the URL is a setting
        pass
