"""Price the orders from a queue. An order without a price is sent to the dead-letter queue with the reason."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer

import fanfold
from fanfold.powertools import BatchMetrics, RecordLogging, RecordTracing

logger = Logger(service="my-project")
metrics = Metrics(namespace="my-project", service="my-project")
tracer = Tracer(service="my-project")


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@fanfold.consumer(
    concurrency=100,  # concurrent orders in one execution environment
    timeout=20,  # seconds for one order
    backoff=fanfold.Backoff(base=5, cap=900),  # failed messages are redelivered after 2.5-5 s, 5-10 s, 10-20 s …
    reject_on=(KeyError, TypeError),  # errors that a retry cannot fix: sent to the dead-letter queue
    observers=[RecordLogging(logger), BatchMetrics(metrics), RecordTracing(tracer)],  # message_id in each log line
)
async def handler(order: dict[str, Any]) -> float:
    """Price one order. After any other error, the message is redelivered."""
    total = price(order)
    logger.info("priced", extra={"order": order["order"], "total": total})
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
