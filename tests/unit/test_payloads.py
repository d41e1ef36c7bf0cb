"""Large payloads: fetched from S3 before they are decoded, and sent."""

import json
from typing import Any

import pytest

import fanfold
from fanfold import Done, Failed, NotStarted, Record, Rejected
from fanfold._base.aws_limits import SQS_MESSAGE_BYTES
from fanfold.errors import ConfigurationError, DecodeError, ServiceError
from fanfold.inmemory import InMemoryQueue, InMemoryStore
from fanfold.payloads import LargePayloads, Pointer, offload, pointer_of, send
from fanfold.testing import make_extended_record, make_fifo_record, make_record
from idempotent import opening, run
from simple_handlers import nothing


def filled(**objects: bytes) -> InMemoryStore:
    store = InMemoryStore()
    store.fill("bucket", objects)
    return store


def extended(
    key: str, *, size_bytes: int = 1, legacy: bool = False, message_id: str = "message-0", bucket: str = "bucket"
) -> dict[str, Any]:
    return make_extended_record(bucket, key, size_bytes=size_bytes, legacy=legacy, message_id=message_id)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "name", ["software.amazon.payloadoffloading.PayloadS3Pointer", "com.amazon.sqs.javamessaging.MessageS3Pointer"]
)
def test_a_body_that_points_to_s3_is_fetched_before_it_is_decoded(legacy: bool, name: str):
    """Pointers of current and older libraries are supported; small bodies in the same batch are unchanged."""

    @fanfold.consumer(large_payloads=opening(filled(key=b'{"id": 1}')))
    async def handler(order: dict) -> int:
        return order["id"]

    large = extended("key", size_bytes=9, legacy=legacy)
    large["body"] = json.dumps([name, json.loads(large["body"])[1]])
    assert run(handler, large, make_record({"id": 2}, message_id="message-1")) == [Done(1), Done(2)]


def test_the_record_of_the_context_has_the_payload_too():
    """A handler that takes a ``Record`` receives the payload, like a handler that takes a body."""

    @fanfold.consumer(large_payloads=opening(filled(key=b"text")))
    def handler(record: Record, ctx: fanfold.Context) -> tuple:
        return record.body, ctx.record.body, record.message_id

    assert run(handler, extended("key", size_bytes=4)) == [Done(("text", "text", "message-0"))]


def test_without_the_setting_the_body_is_the_pointer():
    """No payload is fetched unless the setting is on."""

    @fanfold.consumer
    async def handler(pointer: list) -> str:
        return pointer[1]["s3Key"]

    assert run(handler, extended("key")) == [Done("key")]


def test_a_missing_payload_is_a_permanent_error():
    """A redelivery cannot fix it; the reason includes the URL."""
    handler = fanfold.consumer(large_payloads=opening(filled()))(nothing)
    assert run(handler, extended("gone")) == [Rejected("the payload s3://bucket/gone does not exist")]


def test_a_message_whose_payload_is_throttled_is_redelivered():
    """The outcome has the error of the service."""

    class Throttling(InMemoryStore):
        async def read(self, bucket, key, **where):
            raise ServiceError("slow down", code="SlowDown", transient=True)
            yield b""

    handler = fanfold.consumer(large_payloads=opening(Throttling()))(nothing)
    (outcome,) = run(handler, extended("key"))
    assert isinstance(outcome, Failed)
    assert str(outcome.error) == "slow down"


def test_handlers_of_lists_receive_payloads_and_only_a_missing_one_fails():
    """The other records of the call are processed."""

    @fanfold.consumer(chunk_size=10, large_payloads=opening(filled(key=b"1")))
    async def handler(numbers: list[int]) -> list:
        return [number * 10 for number in numbers]

    records = [extended("key"), extended("gone", message_id="message-1"), make_record(3, message_id="message-2")]
    reject = Rejected("the payload s3://bucket/gone does not exist")
    assert run(handler, *records) == [Done(10), reject, Done(30)]
    assert run(handler, extended("gone")) == [reject]


def test_in_a_list_of_a_fifo_group_no_record_starts_after_a_missing_payload():
    """The records after it are redelivered and processed later."""
    received = []

    @fanfold.consumer(chunk_size=10, large_payloads=opening(filled(key=b"1")))
    async def handler(numbers: list) -> None:
        received.extend(numbers)

    records = []
    for number, key in enumerate(["key", "gone", "key"]):
        large = extended(key)
        pointer = {name: large[name] for name in ("body", "messageAttributes")}
        records.append(make_fifo_record(group="g", message_id=f"message-{number}") | pointer)
    done, rejected, blocked = run(handler, *records)
    assert (done, received) == (Done(), [1])
    assert isinstance(rejected, Rejected)
    assert isinstance(blocked, NotStarted)


@pytest.mark.parametrize("data", [b"\xff", b"no JSON"])
def test_a_payload_that_cannot_be_decoded_is_rejected(data: bytes):
    """A payload is treated like a body."""
    handler = fanfold.consumer(large_payloads=opening(filled(key=data)))(nothing)
    assert isinstance(run(handler, extended("key", size_bytes=len(data)))[0], Rejected)


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        "[1, 2, 3]",
        '["x", {"s3BucketName": "b", "s3Key": "k"}]',
        '["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "", "s3Key": 7}]',
        "{}",
        "7",
        "[" * 100_000,
    ],
)
def test_a_malformed_pointer_is_rejected(body: str):
    """The message attribute declares the body to be a pointer."""
    record = extended("key")
    record["body"] = body
    with pytest.raises(DecodeError, match="its body is not a valid pointer"):
        pointer_of(Record(record))


def test_a_pointer_without_the_attribute_is_an_ordinary_body():
    """The extended client libraries always set the attribute."""
    assert pointer_of(Record(make_record(json.loads(extended("key")["body"])))) is None
    assert pointer_of(Record(extended("key"))) == Pointer("bucket", "key")


@pytest.mark.parametrize("setting", [None, 1, "s3", LargePayloads, ("payloads",)])
def test_an_invalid_setting_is_refused(setting: Any):
    """The error lists the valid values."""
    with pytest.raises(ConfigurationError, match=r"True, False, a fanfold\.payloads\.LargePayloads, or a function"):
        fanfold.consumer(large_payloads=setting)


@pytest.mark.parametrize("legacy", [False, True])
async def test_an_offloaded_body_is_received_unchanged(legacy: bool):
    """This holds for the names of current and older libraries."""
    store, text = filled(), "ä" * 200_000
    message = await offload(
        text, store=store, bucket="bucket", prefix="orders/", attributes={"kind": "x"}, legacy=legacy
    )
    name = "SQSLargePayloadSize" if legacy else "ExtendedPayloadSize"
    assert message.attributes == {"kind": "x", name: "400000"}
    assert message.size_bytes < 400
    sent = {key: {"stringValue": value, "dataType": "String"} for key, value in message.attributes.items()}
    record = make_record(message.body, message_attributes=sent)
    pointer = pointer_of(Record(record))
    assert pointer is not None
    assert pointer.key.startswith("orders/")
    assert (await store.head("bucket", pointer.key)).size_bytes == 400_000


async def test_a_small_body_is_sent_as_is():
    """A body is small up to the threshold, which includes attributes."""
    store = filled()
    assert (await offload("x" * 10, store=store, bucket="bucket", threshold_bytes=10)).body == "x" * 10
    assert "s3Key" in (await offload("x" * 11, store=store, bucket="bucket", threshold_bytes=10)).body


async def test_a_bucket_that_does_not_exist_is_a_configuration_error():
    """The sender has to fix it."""
    with pytest.raises(ConfigurationError, match="bucket nowhere for large payloads does not exist"):
        await offload("x", store=InMemoryStore("bucket"), bucket="nowhere", threshold_bytes=0)


async def test_bodies_of_any_size_are_sent():
    """They are sent in order; large ones are sent as pointers."""
    queue, store = InMemoryQueue(), filled()
    bodies = [*(str(number) for number in range(150)), "x" * (SQS_MESSAGE_BYTES + 1)]
    assert await send(queue, iter(bodies), store=store, bucket="bucket") == 151
    assert len([item async for item in store.list("bucket")]) == 1
