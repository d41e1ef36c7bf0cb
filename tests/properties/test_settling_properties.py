"""The content of one message never changes what happens to another when both are settled."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import Record, Rejected, Retrying
from fanfold._consumer.settle import Settling
from fanfold._ports.queue import Refusal
from fanfold.aws.sqs import SqsQueue
from fanfold.errors import ServiceError
from fanfold.testing import make_record

ODD: list[dict[str, Any]] = [
    {"body": "\ud800"},
    {"body": "\x00"},
    {"body": None},
    {"messageAttributes": {"a": {"stringValue": "x"}}},
    {"messageAttributes": {"a": {"dataType": "Binary", "binaryValue": "not base64!"}}},
    {"messageAttributes": ["not", "an", "object"]},
    {"messageAttributes": {"a": None}},
    {"receiptHandle": None},
    {"eventSourceARN": "orders"},
    {"eventSourceARN": None},
    {"attributes": None},
    {"messageId": 7},
]
HEALTHY: dict[str, Any] = {}


class Endpoint:
    """The part of an SQS client that states its endpoint."""

    endpoint_url = "https://sqs.eu-west-1.amazonaws.com"


class AcceptingClient:
    """An SQS client that accepts every well-formed call."""

    meta = Endpoint()

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.changed: list[str] = []

    async def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - the SDK's names
        for entry in Entries:
            entry["MessageBody"].encode()
            self.sent.append(entry["MessageBody"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    async def change_message_visibility_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - the SDK's names
        self.changed += [entry["ReceiptHandle"] for entry in Entries]
        return {}


def record_of(number: int, odd: dict[str, Any]) -> Record:
    raw = make_record(f"body {number}", message_id=f"m{number}")
    return Record(raw | {"receiptHandle": f"handle {number}"} | odd)


def valid(odd: dict[str, Any], number: int) -> Record | None:
    """Return the record, or None if its content is refused before it reaches a handler."""
    try:
        return record_of(number, odd)
    except Exception:  # noqa: BLE001 - a record that the event cannot contain
        return None


CONTENTS = st.lists(st.just(HEALTHY) | st.sampled_from(ODD), min_size=1, max_size=25)


async def settle(contents: list[dict[str, Any]], settler: Any) -> tuple[list[Record], Settling]:
    records = [record for number, odd in enumerate(contents) if (record := valid(odd, number)) is not None]

    async def opened() -> Any:
        return settler

    settling = Settling(opened, backoff=None, dead_letters=True, retry_seconds=(0, 0, None))
    for position, record in enumerate(records):
        settling.add(position, record, Rejected("no"))
        settling.add(position, record, Retrying(5))
    await settling.finish(30)
    return records, settling


@settings(max_examples=150, deadline=None)
@given(CONTENTS)
def test_healthy_messages_are_settled_on_sqs_no_matter_what_the_others_contain(contents):
    """Each is in the dead-letter queue, and each has its delay."""
    client = AcceptingClient()
    queue = SqsQueue(client, dead_letter_queue_url="https://sqs.eu-west-1.amazonaws.com/1/dead")
    records, settling = asyncio.run(settle(contents, queue))
    healthy = [number for number, odd in enumerate(contents) if not odd]
    ids = {f"m{number}" for number in healthy}
    assert settling.forwarded >= {position for position, record in enumerate(records) if record.message_id in ids}
    assert {f"body {number}" for number in healthy} <= set(client.sent)
    assert {f"handle {number}" for number in healthy} <= set(client.changed)


class Strict:
    """A settler that fails the whole call if one of its messages is bad, in a way that the test chooses."""

    def __init__(self, bad: set[str], error: BaseException) -> None:
        self.bad = bad
        self.error = error
        self.changed: set[str] = set()

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        self._check(record for record, _ in rejects)
        return []

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        self._check(record for record, _ in changes)
        self.changed |= {record.message_id for record, _ in changes}
        return []

    def _check(self, records) -> None:
        if any(record.message_id in self.bad for record in records):
            raise self.error


ERRORS = [ValueError("odd"), RecursionError(), asyncio.CancelledError(), ServiceError("bad", code="X", transient=False)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from(ERRORS))
def test_a_settler_that_fails_for_some_messages_settles_all_others(bad: list[bool], error: BaseException):
    """For any error, and any distribution of the messages over its calls."""
    settler = Strict({f"m{number}" for number, is_bad in enumerate(bad) if is_bad}, error)
    records, settling = asyncio.run(settle([HEALTHY] * len(bad), settler))
    good = {number for number, is_bad in enumerate(bad) if not is_bad}
    assert settling.forwarded == good
    assert settler.changed == {f"m{number}" for number in good}
    assert len(records) == len(bad)
