"""``fanfold redrive --from``, on the emulated AWS, which has no StartMessageMoveTask."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from command import fanfold, only_line
from fanfold import Reject, consumer
from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._stack.emulator import LocalStack
from fanfold.aws.sqs_entries import record_of
from fanfold.testing import make_context

pytestmark = pytest.mark.stack


class Queues:
    """A queue, and its dead-letter queue."""

    def __init__(self, sqs: Any, *, fifo: bool = False) -> None:
        self.sqs = sqs
        ending, kind = (".fifo", {"FifoQueue": "true"}) if fifo else ("", {})
        name = f"orders-{uuid.uuid4().hex[:8]}"
        self.dead = sqs.create_queue(QueueName=f"{name}-dead{ending}", Attributes=kind)["QueueUrl"]
        policy = json.dumps({"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": 1})
        attributes = {**kind, "RedrivePolicy": policy, "VisibilityTimeout": "0"}
        self.url = sqs.create_queue(QueueName=f"{name}{ending}", Attributes=attributes)["QueueUrl"]

    def arn(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def received(self, url: str) -> list[dict[str, Any]]:
        """Receive and delete all visible messages."""
        messages: list[dict[str, Any]] = []
        names = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
        request = {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 60, **names}
        while page := self.sqs.receive_message(**request).get("Messages"):
            messages += page
            for message in page:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    def visible(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(counts["ApproximateNumberOfMessages"])


@pytest.fixture
def sqs(aws: LocalStack) -> Iterator[Any]:
    client = boto3.client("sqs")
    yield client
    client.close()


@consumer
async def handler(order: dict) -> None:
    raise Reject(f"row {order['row']} has no carrier")


def test_rejected_messages_go_back_to_their_queue_with_everything_they_had(sqs):
    """A consumer has rejected them; the user chooses by reason, and the other message stays visible."""
    queues = Queues(sqs)
    color = {
        "color": {"DataType": "String", "StringValue": "blue"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\0"},
    }
    for row in range(12):
        sqs.send_message(
            QueueUrl=queues.url,
            MessageBody=json.dumps({"row": row}),
            MessageAttributes=color,
        )
    tested = handler.with_settings(dead_letter_queue_url=queues.dead)
    for message in queues.received(queues.url):
        event = {"Records": [record_of(message, queues.arn(queues.url), "us-east-1")]}
        assert tested(event, make_context(30)) == {"batchItemFailures": []}
    tested.close()
    sqs.send_message(QueueUrl=queues.dead, MessageBody="other")

    shown = fanfold("redrive", "--from", queues.dead, "--where", "no carrier", "--dry-run", COLUMNS="80")
    assert (shown.returncode, shown.stdout) == (0, "would send 12 messages; nothing was moved\n"), shown.stderr
    assert "row 0 has no carrier" in shown.stderr
    assert "moved by the redrive policy" in shown.stderr
    assert (queues.visible(queues.dead), queues.visible(queues.url)) == (13, 0)
    done = fanfold("redrive", "--from", queues.dead, "--where", "no carrier", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["sent"], document["refused"], document["failed_again"]) == (12, {}, 0)
    assert (queues.visible(queues.dead), queues.visible(queues.url)) == (1, 12)
    (message, *_) = queues.received(queues.url)
    assert message["MessageAttributes"].keys() == {"color", "raw"}
    assert message["MessageAttributes"]["raw"]["BinaryValue"] == b"\0"

    nothing = fanfold("redrive", "--from", queues.dead, "--where", "no carrier")
    assert "has 'no carrier' in its reason; nothing was moved" in only_line(nothing.stderr)
    live = fanfold("redrive", "--from", queues.url, "--to", queues.dead)
    assert "is not known to be a dead-letter queue: no redrive policy names it" in only_line(live.stderr)
    assert (live.returncode, queues.visible(queues.dead)) == (2, 1)


def test_fifo_messages_go_back_in_the_order_of_their_groups_although_they_were_sent_a_moment_ago(sqs):
    """With the deduplication id that they had, SQS would accept and drop them."""
    queues, other = Queues(sqs, fifo=True), Queues(sqs)
    for number in range(14):
        sqs.send_message(
            QueueUrl=queues.url,
            MessageBody=f"{number:02}",
            MessageGroupId=f"g{number % 2}",
            MessageDeduplicationId=str(number),
        )
    for _ in range(4):  # the redrive policy moves them after one receive
        sqs.receive_message(QueueUrl=queues.url, MaxNumberOfMessages=10)
    assert queues.visible(queues.dead) == 14
    wrong = fanfold("redrive", "--from", queues.dead, "--to", other.url)
    assert "is a standard queue, and" in only_line(wrong.stderr)
    assert (wrong.returncode, queues.visible(queues.dead), queues.visible(other.url)) == (2, 14, 0)
    done = fanfold("redrive", "--from", queues.arn(queues.dead))
    assert (done.returncode, done.stdout) == (0, "14 messages sent back\n"), done.stderr
    assert "about 4 messages behind these in their message groups can be read after these" in done.stderr
    assert queues.visible(queues.dead) == 0
    received = queues.received(queues.url)
    for group in ("g0", "g1"):
        bodies = [m["Body"] for m in received if m["Attributes"]["MessageGroupId"] == group]
        assert bodies == [f"{number:02}" for number in range(int(group[1]), 14, 2)]
    assert all(ATTRIBUTE not in message.get("MessageAttributes", {}) for message in received)
