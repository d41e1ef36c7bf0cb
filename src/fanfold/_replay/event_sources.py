"""The service that a saved event comes from: SQS, or another one by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SQS: Final = "aws:sqs"
S3: Final = "aws:s3"
_SERVICES: Final = {
    S3: "S3",
    "aws:sns": "SNS",
    "aws:dynamodb": "DynamoDB Streams",
    "aws:kinesis": "Kinesis Data Streams",
    "aws:ses": "SES",
    "aws:codecommit": "CodeCommit",
    "aws:kafka": "Kafka",
    "aws:mq": "Amazon MQ",
    "aws:rmq": "Amazon MQ",
}
"""Names by the event source in a record, or in the event."""
_BY_KEYS: Final = (
    ({"cf"}, "CloudFront"),
    ({"awslogs"}, "CloudWatch Logs"),
    ({"deliveryStreamArn", "records"}, "Data Firehose"),
    ({"triggerSource", "userPoolId"}, "Cognito"),
    ({"methodArn", "type"}, "an API Gateway authorizer"),
    ({"requestContext", "httpMethod"}, "API Gateway"),
    ({"requestContext", "routeKey"}, "API Gateway"),
    ({"requestContext", "rawPath"}, "a function URL"),
    ({"invocationSchemaVersion", "tasks"}, "S3 Batch Operations"),
    ({"invokingEvent", "configRuleArn"}, "AWS Config"),
    ({"RequestType", "ResponseURL", "StackId"}, "CloudFormation"),
    ({"detail-type", "source", "detail"}, "EventBridge"),
)
"""Names by keys that an event of the service has."""


def service_of_records(event: Mapping[str, Any]) -> str | None:
    """Return the event source of the ``Records`` of an event, such as ``aws:s3``; None if it is SQS or not stated."""
    records = event.get("Records")
    first = records[0] if isinstance(records, list) and records else None
    if not isinstance(first, Mapping):
        return None
    source = first.get("eventSource", first.get("EventSource"))
    if source is None and "cf" in first:
        return "CloudFront"
    return None if source is None or source == SQS else str(source)


def service_name(source: str) -> str:
    """Return the name of a service for a message."""
    return _SERVICES.get(source, source)


def service_of(event: Mapping[str, Any]) -> str | None:
    """Return the name of the service that a whole event without ``Records`` of SQS comes from; None if it is a body."""
    if isinstance(event.get("eventSource"), str):
        return service_name(event["eventSource"])
    if isinstance(event.get("requestContext"), Mapping) and "elb" in event["requestContext"]:
        return "an Application Load Balancer"
    return next((name for keys, name in _BY_KEYS if keys <= event.keys()), None)
