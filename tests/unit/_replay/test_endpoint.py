"""The SQS endpoint of the simulated queues, called over HTTP by the real SDK."""

import boto3
import pytest
from botocore.exceptions import ClientError

from fanfold._base.sample_events import make_record
from fanfold._replay.endpoint import Endpoint, serving
from fanfold.inmemory.queue import InMemoryQueue
from fanfold.testing import ManualClock


@pytest.fixture
def queue() -> InMemoryQueue:
    return InMemoryQueue(visibility_timeout=30, clock=ManualClock())


@pytest.fixture
def endpoint(queue):
    with serving({"orders": queue}) as endpoint:
        yield endpoint


@pytest.fixture
def sqs(endpoint):
    client = boto3.client(
        "sqs", endpoint_url=endpoint.url, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    yield client
    client.close()


def received(queue: InMemoryQueue, count: int = 1) -> list[str]:
    for number in range(count):
        queue.put(make_record(number, message_id=f"m{number}"))
    return [message.handle for message in queue.take(10)]


def test_a_change_of_the_visibility_timeout_moves_the_next_delivery(queue, endpoint, sqs):
    """With a single call or a batch."""
    handles = received(queue, 2)
    url = endpoint.queue_url("orders")
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handles[0], VisibilityTimeout=5)
    entries = [{"Id": "a", "ReceiptHandle": handles[1], "VisibilityTimeout": 3}]
    response = sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in response["Successful"]] == ["a"]
    assert queue.next_visible_at() == 3


def test_a_visibility_timeout_over_twelve_hours_or_a_stale_handle_is_rejected(queue, endpoint, sqs):
    """In a batch, the entry's id is reported as a sender fault."""
    (handle,) = received(queue)
    url = endpoint.queue_url("orders")
    entries = [
        {"Id": "late", "ReceiptHandle": handle, "VisibilityTimeout": 43_201},
        {"Id": "stale", "ReceiptHandle": "gone", "VisibilityTimeout": 1},
    ]
    failed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)["Failed"]
    assert [(entry["Id"], entry["SenderFault"]) for entry in failed] == [("late", True), ("stale", True)]
    with pytest.raises(ClientError, match="not in flight"):
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle="gone", VisibilityTimeout=1)


def test_a_deletion_empties_the_queue(queue, endpoint, sqs):
    """As in SQS, a stale handle is not an error."""
    handles = received(queue, 3)
    url = endpoint.queue_url("orders")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=handles[0])
    sqs.delete_message_batch(
        QueueUrl=url, Entries=[{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
    )
    assert len(queue) == 0


def test_a_message_that_is_sent_can_be_received(queue, endpoint, sqs):
    """With its attributes, as Lambda would deliver it."""
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    sent = {"DataType": "String", "StringValue": "blue"}
    sqs.send_message(QueueUrl=url, MessageBody="one", MessageAttributes={"color": sent}, MessageGroupId="tenant")
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "b", "MessageBody": "two", "DelaySeconds": 9}])
    (message,) = queue.take(10)
    record = message.as_record()
    assert (record["body"], record["messageAttributes"]["color"]["stringValue"]) == ("one", "blue")
    assert record["attributes"]["MessageGroupId"] == "tenant"
    assert queue.next_visible_at() == 9
    reported = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (reported["ApproximateNumberOfMessages"], reported["VisibilityTimeout"]) == ("2", "30")


def test_a_queue_that_is_not_replayed_does_not_exist(endpoint, sqs):
    """For single calls and for batches."""
    url = endpoint.queue_url("others")
    for call in (
        lambda: sqs.send_message(QueueUrl=url, MessageBody="x"),
        lambda: sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "a", "MessageBody": "x"}]),
    ):
        with pytest.raises(ClientError, match="'others' is not part of this replay"):
            call()


def test_a_call_that_is_not_simulated_is_an_error(endpoint, sqs):
    """The error names the call."""
    with pytest.raises(ClientError, match="does not support ReceiveMessage"):
        sqs.receive_message(QueueUrl=endpoint.queue_url("orders"))


def test_a_malformed_call_is_a_bad_request():
    """The endpoint keeps running."""
    endpoint = Endpoint({})
    assert endpoint.respond("SendMessage", {})[0] == 400
    assert endpoint.respond("", {})[0] == 400
