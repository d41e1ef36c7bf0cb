"""What tests of handlers need: events, records, contexts, a clock moved by hand, and a delivery.

::

    from fanfold.testing import deliver

    def test_an_order_without_a_customer_goes_back():
        result = deliver(handler, {"customer": None})
        assert result.response == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fanfold.consume import Consumer
from fanfold.outcome import BatchResult

__all__ = ["FakeContext", "ManualClock", "deliver", "make_context", "make_event", "make_record"]

QUEUE_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"
"""The queue that records come from unless told otherwise."""


class ManualClock:
    """A clock that stands still until it is moved: call it for the time, in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        """The time it shows."""

    def __call__(self) -> float:
        """Return the time it shows."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move it on."""
        if seconds < 0:
            raise ValueError(f"a clock moves on by 0 seconds or more, not {seconds}")
        self.now += seconds


@dataclass
class FakeContext:
    """A Lambda context object, with the time left told by a clock."""

    seconds: float = 30.0
    """Seconds the invocation has from its making."""
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"
    """Names the invocation."""
    function_name: str = "function"
    """Names the function."""
    memory_limit_in_mb: int = 1769
    """Memory of the function, MB."""
    clock: Callable[[], float] = time.monotonic
    """What tells the time."""
    function_version: str = "$LATEST"
    """Version of the function."""
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function"
    """Names the function that was invoked."""
    log_group_name: str = "/aws/lambda/function"
    """Where its log goes."""
    log_stream_name: str = "2026/01/01/[$LATEST]0"
    """Where its log goes."""
    _started: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left, from 0."""
        return max(0, int((self._started + self.seconds - self.clock()) * 1000))


def make_context(seconds: float = 30.0, **fields: Any) -> FakeContext:
    """Return a Lambda context with this many seconds left; ``fields`` as in ``FakeContext``."""
    return FakeContext(seconds, **fields)


def make_record(
    body: Any = None,
    *,
    message_id: str = "message-0",
    receive_count: int = 1,
    queue_arn: str = QUEUE_ARN,
    attributes: Mapping[str, str] | None = None,
    message_attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return one record of an SQS event, as Lambda delivers it.

    Args:
        body: A text as it is; anything else is sent as JSON.
        message_id: Names the message.
        receive_count: Deliveries so far, this one included.
        queue_arn: The queue it comes from.
        attributes: What SQS says of it, beside the usual.
        message_attributes: What the sender added, in the event's form: ``{name: {"stringValue": …, "dataType": …}}``.
    """
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-of-{message_id}-{receive_count}",
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": "1767225600000",
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": "1767225600001",
            **(attributes or {}),
        },
        "messageAttributes": dict(message_attributes or {}),
        "md5OfBody": hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": "eu-west-1",
    }


def make_event(*bodies: Any, records: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return an SQS event: a record for each body, with the ids ``message-0``, ``message-1`` …, then ``records``."""
    made = [make_record(body, message_id=f"message-{number}") for number, body in enumerate(bodies)]
    return {"Records": [*made, *records]}


def deliver(handler: Consumer[..., Any], *bodies: Any, seconds: float = 30.0) -> BatchResult:
    """Deliver a batch to a consumer as Lambda would, and return how each record ended.

    Runs on the consumer's own event loop with its own lifespan, which are ended afterwards.

    Args:
        handler: The consumer.
        bodies: One for each record; a text as it is, anything else as JSON.
        seconds: Time the invocation has.
    """
    try:
        return handler.invoke(make_event(*bodies), make_context(seconds))
    finally:
        handler.close()
