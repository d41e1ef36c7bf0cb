"""Events in message bodies, as Powertools' data classes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import (
    EventBridgeEvent,
    S3Event,
    S3EventBridgeNotificationEvent,
    SNSEvent,
)
from aws_lambda_powertools.utilities.data_classes.cloud_watch_alarm_event import CloudWatchAlarmEvent
from aws_lambda_powertools.utilities.data_classes.sns_event import SNSMessage

import fanfold
from fanfold import Done, Rejected
from fanfold.testing import make_eventbridge_record, make_record, make_s3_record, make_sns_record
from idempotent import run


class Placed(EventBridgeEvent):
    """A data class of the user."""


def test_an_s3_notification_is_passed_as_s3_event():
    """The property of the data class decodes the URL-encoded key."""

    @fanfold.consumer
    async def handler(event: S3Event) -> str:
        return f"{event.bucket_name}/{event.object_key}"

    assert run(handler, make_s3_record("photos", "a b+c.jpg")) == [Done("photos/a b+c.jpg")]


def test_the_sns_envelope_of_another_services_event_is_removed():
    """S3 to SNS to SQS, EventBridge to SNS to SQS: the handler is the same as without SNS."""

    @fanfold.consumer
    async def s3(event: S3Event) -> str:
        return event.object_key

    @fanfold.consumer
    async def bridge(event: EventBridgeEvent) -> dict:
        return event.detail

    assert run(s3, make_sns_record(make_s3_record("photos", "a.jpg")["body"])) == [Done("a.jpg")]
    assert run(bridge, make_sns_record(make_eventbridge_record({"id": 1})["body"])) == [Done({"id": 1})]


def test_the_s3_test_event_has_no_records():
    """S3 sends one when notifications are configured; it must not fail."""
    seen = []

    @fanfold.consumer
    async def handler(event: S3Event) -> None:
        seen.extend(event.records)

    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}
    assert run(handler, make_record(test)) == [Done()]
    assert seen == []


def test_an_sns_notification_is_passed_as_event_or_as_message():
    """The annotation decides; keys that SNS spells differently in SQS messages are found."""

    @fanfold.consumer
    async def event(event: SNSEvent) -> tuple:
        sns = event.record.sns
        return event.sns_message, sns.topic_arn.rpartition(":")[2], sns.signing_cert_url, sns.unsubscribe_url

    @fanfold.consumer
    async def message(message: SNSMessage) -> dict:
        return json.loads(message.message)

    record = make_sns_record({"id": 1})
    body = json.loads(record["body"])
    assert run(event, record) == [Done(('{"id": 1}', "orders", body["SigningCertURL"], body["UnsubscribeURL"]))]
    assert run(message, record) == [Done({"id": 1})]


def test_an_eventbridge_event_is_passed_as_its_data_class():
    """Subclasses work too, Powertools' as well as the user's."""

    @fanfold.consumer
    async def handler(event: Placed) -> tuple:
        return type(event), event.detail_type, event.detail

    @fanfold.consumer
    async def s3(event: S3EventBridgeNotificationEvent) -> str:
        return event.detail.object.key

    assert run(handler, make_eventbridge_record({"id": 1})) == [Done((Placed, "Order placed", {"id": 1}))]
    assert run(s3, make_eventbridge_record({"object": {"key": "a.jpg"}})) == [Done("a.jpg")]


def test_any_other_data_class_is_created_from_the_body():
    """Powertools' data classes do not validate."""

    @fanfold.consumer(chunk_size=2)
    async def handler(events: list[CloudWatchAlarmEvent]) -> list:
        return [event.source for event in events]

    assert run(handler, make_record({"source": "aws.cloudwatch"})) == [Done("aws.cloudwatch")]


@pytest.mark.parametrize("annotation", [S3Event, SNSEvent, SNSMessage, EventBridgeEvent, CloudWatchAlarmEvent])
@pytest.mark.parametrize("body", ["not JSON", "[1]", "null", '{"Type": "Notification", "TopicArn": "t"}'])
def test_a_body_without_such_an_event_is_rejected(annotation: Any, body: str):
    """A retry cannot fix it; the reason states what is missing."""

    async def handler(event) -> None: ...

    handler.__annotations__["event"] = annotation
    (outcome,) = run(fanfold.consumer(handler), make_record(body))
    if annotation in {SNSEvent, SNSMessage} and "TopicArn" in body:
        assert outcome == Done()  # a notification without a message; the data class validates nothing
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.reason.startswith(("the body is", "the message of the SNS notification is not JSON"))


def test_another_kind_of_event_is_rejected():
    """The reason states the expected kind and the missing key."""

    @fanfold.consumer
    async def handler(event: S3Event) -> None: ...

    assert run(handler, make_record({"id": 1})) == [Rejected("the body is not an S3 notification: it has no 'Records'")]
