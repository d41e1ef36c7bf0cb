"""Large payloads on the emulated S3 and SQS: sent, received, and missing."""

import uuid
from typing import Any

import boto3
import pytest
from aiobotocore.session import get_session

import fanfold
from fanfold import Done, Rejected
from fanfold._stack.emulator import LocalStack
from fanfold.aws.sqs import SqsQueue
from fanfold.aws.sqs_entries import record_of
from fanfold.payloads import open_store, send
from fanfold.testing import deliver, make_context, make_event, make_extended_record
from simple_handlers import nothing

pytestmark = pytest.mark.stack


@pytest.fixture
def bucket(aws: LocalStack) -> str:
    name = f"payloads-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


async def sent_and_received(bucket: str, *bodies: str) -> list[dict[str, Any]]:
    """Send texts to a new queue, and return them as the records of a Lambda event."""
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=f"payloads-{uuid.uuid4().hex}")["QueueUrl"]
    async with open_store() as store, get_session().create_client("sqs") as client:
        assert await send(SqsQueue(client, url), bodies, store=store, bucket=bucket) == len(bodies)
    records: list[dict[str, Any]] = []
    while len(records) < len(bodies):
        response = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2, MessageAttributeNames=["All"]
        )
        records += [
            record_of(message, "arn:aws:sqs:eu-west-1:000000000000:q", "eu-west-1") for message in response["Messages"]
        ]
    return sorted(records, key=lambda record: len(record["body"]))


async def test_a_text_larger_than_the_sqs_limit_is_received_unchanged(bucket: str):
    """The message points to S3, with the attribute that the extended client libraries use."""
    large = '"' + "x" * 2_000_000 + '"'
    small, pointing = await sent_and_received(bucket, "1", large)
    assert small["messageAttributes"] == {}
    assert pointing["messageAttributes"]["ExtendedPayloadSize"]["dataType"] == "Number"
    assert pointing["messageAttributes"]["ExtendedPayloadSize"]["stringValue"] == "2000002"

    @fanfold.consumer(large_payloads=True)
    async def handler(value) -> int:
        return len(str(value))

    result = handler.invoke(make_event(records=[small, pointing]), make_context())
    handler.close()
    assert result.outcomes == [Done(1), Done(2_000_000)]


def test_a_missing_payload_is_rejected(bucket: str):
    """The reason names the object, for anyone who inspects the dead-letter queue."""
    handler = fanfold.consumer(large_payloads=True)(nothing)
    records = [make_extended_record(bucket, "gone", size_bytes=1)]
    result = handler.invoke(make_event(records=records), make_context())
    handler.close()
    assert result.outcomes == [Rejected(f"the payload s3://{bucket}/gone does not exist")]


def test_small_bodies_open_no_client():
    """The setting costs nothing until a body points to S3."""
    handler = fanfold.consumer(large_payloads=True)(nothing)
    assert deliver(handler, 1, 2).outcomes == [Done(), Done()]  # without a region or credentials
