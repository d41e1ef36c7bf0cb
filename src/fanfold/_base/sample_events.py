"""Sample events, records, and contexts, and a manual clock: for tests and local replays."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from fanfold.errors import ConfigurationError

QUEUE_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"
"""The default queue of sample records."""


class ManualClock:
    """A clock that advances only when you tell it to: call it for the time, in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now: float = now
        """The current time."""

    def __call__(self) -> float:
        """Return the current time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock.

        Raises:
            ValueError: If ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"seconds must be at least 0, not {seconds}")
        self.now += seconds


@dataclass(frozen=True)
class FakeIdentity:
    """The identity of a Lambda context object."""

    cognito_identity_id: str | None = None
    """Id of the authenticated identity."""
    cognito_identity_pool_id: str | None = None
    """Id of the identity pool."""


@dataclass
class FakeContext:
    """A Lambda context object whose remaining time follows a clock."""

    seconds: float = 30.0
    """Seconds until the timeout, counted from the creation of this object."""
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"
    """The id of the invocation."""
    function_name: str = "function"
    """The name of the function."""
    memory_limit_in_mb: int = 1769
    """Memory of the function, MB."""
    clock: Callable[[], float] = time.monotonic
    """Returns the time, in seconds."""
    function_version: str = "$LATEST"
    """Version of the function."""
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function"
    """ARN of the function."""
    log_group_name: str = "/aws/lambda/function"
    """Log group of the function."""
    log_stream_name: str = "2026/01/01/[$LATEST]0"
    """Log stream of the execution environment."""
    identity: FakeIdentity = field(default_factory=FakeIdentity)
    """Amazon Cognito identity of the caller; none for events of a queue."""
    client_context: None = None
    """Context of a mobile client; none for events of a queue."""
    tenant_id: str | None = None
    """Tenant of a function with tenant isolation, which does not work with event source mappings."""
    _started: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the timeout, at least 0."""
        return max(0, int((self._started + self.seconds - self.clock()) * 1000))


def make_context(seconds: float = 30.0, **fields: Any) -> FakeContext:
    """Return a Lambda context with some seconds left; ``fields`` are those of ``FakeContext``."""
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
        body: A string, used as is, or a value that is encoded as JSON.
        message_id: The id of the message.
        receive_count: Deliveries so far, this one included.
        queue_arn: The ARN of its queue.
        attributes: System attributes of SQS, in addition to the defaults.
        message_attributes: Message attributes, as in an event: ``{name: {"stringValue": …, "dataType": …}}``.
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


def make_fifo_record(
    body: Any = None, *, group: str = "group-0", message_id: str = "message-0", receive_count: int = 1
) -> dict[str, Any]:
    """Return one record of a FIFO queue; its deduplication id is its message id."""
    attributes = {
        "MessageGroupId": group,
        "MessageDeduplicationId": message_id,
        "SequenceNumber": f"{int.from_bytes(hashlib.sha256(message_id.encode()).digest()[:8], 'big'):020d}",
    }
    return make_record(
        body,
        message_id=message_id,
        receive_count=receive_count,
        queue_arn=f"{QUEUE_ARN}.fifo",
        attributes=attributes,
    )


def make_fair_record(body: Any = None, *, tenant: str, message_id: str = "message-0") -> dict[str, Any]:
    """Return one record of a fair queue: a standard queue whose message groups identify tenants, without an order."""
    return make_record(body, message_id=message_id, attributes={"MessageGroupId": tenant})


def make_extended_record(
    bucket: str, key: str, *, size_bytes: int, legacy: bool = False, message_id: str = "message-0"
) -> dict[str, Any]:
    """Return one record whose body points to S3, as the extended client library sends it.

    Args:
        bucket: Bucket of the payload.
        key: Key of the payload.
        size_bytes: Size of the payload; a consumer rejects a message that states another size.
        legacy: Whether the attribute has its older name, ``SQSLargePayloadSize``.
        message_id: The id of the message.
    """
    pointer = ["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": bucket, "s3Key": key}]
    name = "SQSLargePayloadSize" if legacy else "ExtendedPayloadSize"
    size = {"dataType": "Number", "stringValue": str(size_bytes)}
    return make_record(pointer, message_id=message_id, message_attributes={name: size})


def make_sns_record(
    message: Any, *, topic_arn: str = "arn:aws:sns:eu-west-1:123456789012:orders", message_id: str = "message-0"
) -> dict[str, Any]:
    """Return one record that SNS sent to the queue, with the message in the notification's ``Message``."""
    notification = {
        "Type": "Notification",
        "MessageId": f"sns-{message_id}",
        "TopicArn": topic_arn,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2026-01-01T00:00:00.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/example.pem",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/example",
    }
    return make_record(notification, message_id=message_id)


def make_s3_record(
    bucket: str, key: str, *, size_bytes: int = 1, event: str = "ObjectCreated:Put", message_id: str = "message-0"
) -> dict[str, Any]:
    """Return one record of an S3 event notification; pass the key unquoted, it is quoted as S3 does."""
    notification = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "EXAMPLE"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "EXAMPLE", "x-amz-id-2": "EXAMPLE"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "example",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "EXAMPLE"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {
                "key": quote_plus(key),
                "size": size_bytes,
                "eTag": "example",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
    }
    return make_record({"Records": [notification]}, message_id=message_id)


def make_eventbridge_record(
    detail: Any, *, detail_type: str = "Order placed", source: str = "shop.orders", message_id: str = "message-0"
) -> dict[str, Any]:
    """Return one record that an EventBridge rule sent to the queue."""
    event = {
        "version": "0",
        "id": f"eventbridge-{message_id}",
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
    }
    return make_record(event, message_id=message_id)


def make_event(*bodies: Any, records: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return an SQS event: a record per body, with the ids ``message-0``, ``message-1`` …, followed by ``records``.

    Raises:
        ConfigurationError: If a body is a whole record, such as ``make_record`` returns.
    """
    for position, body in enumerate(bodies):
        if isinstance(body, Mapping) and body.get("eventSource") == "aws:sqs" and "messageId" in body:
            raise ConfigurationError(
                f"argument {position} is a record, not a body; pass records by name, as in "
                "make_event(records=[make_fair_record(…)])"
            )
    body_records = [make_record(body, message_id=f"message-{number}") for number, body in enumerate(bodies)]
    return {"Records": [*body_records, *records]}
