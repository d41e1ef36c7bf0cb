"""The requests that send a message to a dead-letter queue, and back."""

from typing import Any

import pytest

from fanfold._base.record import Record
from fanfold._ports.queue import Refusal
from fanfold.aws import sqs
from fanfold.aws.sqs import SqsQueue

RECORD = Record(
    {
        "messageId": "m-1",
        "body": "x",
        "attributes": {"MessageGroupId": "g", "MessageDeduplicationId": "d", "AWSTraceHeader": "Root=1-2-3"},
        "messageAttributes": {
            "color": {"dataType": "String", "stringValue": "blue"},
            "raw": {"dataType": "Binary", "binaryValue": "AA=="},
        },
    }
)
SENT = {
    "MessageBody": "x",
    "MessageAttributes": {
        "color": {"DataType": "String", "StringValue": "blue"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\0"},
    },
    "MessageGroupId": "g",
    "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}},
}


class Client:
    """A client that returns a response, and keeps the request."""

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self.request: dict[str, Any] = {}

    async def send_message_batch(self, **request: Any) -> dict[str, Any]:
        self.request = request
        return self.response


@pytest.fixture
def through_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every call through the client."""

    async def call(client: Any, operation: str, _target: str, arguments: Any) -> Any:
        return await getattr(client, operation)(**arguments)

    monkeypatch.setattr(sqs, "call", call)


@pytest.mark.usefixtures("through_the_sdk")
@pytest.mark.parametrize(("url", "more"), [("q", {}), ("q.fifo", {"MessageDeduplicationId": "redrive-m-1"})])
async def test_a_message_is_sent_back_with_its_attributes_its_group_and_its_trace(url, more):
    """The deduplication id is a new one, which a repeat uses again."""
    client = Client({"Successful": [{"Id": "0", "MessageId": "new"}]})
    assert await SqsQueue(client, url).resend([RECORD]) == ["new"]
    assert client.request == {"QueueUrl": url, "Entries": [{"Id": "0", **SENT, **more}]}


@pytest.mark.usefixtures("through_the_sdk")
async def test_only_what_sqs_lists_is_accepted():
    """A failed entry, one that is missing in the response, and one that cannot be sent are refused."""
    failed = {"Id": "1", "Code": "InternalError", "SenderFault": False}
    client = Client({"Successful": [{"Id": "0", "MessageId": "new"}], "Failed": [failed]})
    records = [Record({"messageId": "m", "body": body}) for body in ("a", "b", "c", "\ud800")]
    accepted, refused, missing, unsendable = await SqsQueue(client, "q").resend(records)
    assert accepted == "new"
    assert refused == Refusal(1, "InternalError: ", final=False)
    assert missing == Refusal(2, "missing in the response", final=False)
    assert isinstance(unsendable, Refusal)
    assert unsendable.final
    assert all(isinstance(result, Refusal) for result in await SqsQueue(Client({}), "q").resend(records[3:]))


@pytest.mark.usefixtures("through_the_sdk")
async def test_a_dead_letter_keeps_the_tenant_and_the_trace():
    """On a standard queue, too: the message group is the tenant of fair queues."""
    client = Client({"Successful": [{"Id": "0", "MessageId": "new"}]})
    queue = SqsQueue(client, dead_letter_queue_url="dead")
    assert await queue.send_dead_letters([(RECORD, "no")]) == []
    (entry,) = client.request["Entries"]
    assert (entry["MessageGroupId"], entry["MessageSystemAttributes"]) == ("g", SENT["MessageSystemAttributes"])
    assert "MessageDeduplicationId" not in entry
