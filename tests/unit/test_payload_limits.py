"""Large payloads: what a message may choose to read, and how much of it is read."""

import json
import logging
import re
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest
from botocore.exceptions import ParamValidationError
from botocore.handlers import validate_bucket_name
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from fanfold import Done, Record, Rejected
from fanfold._ports.payload_pointers import DEFAULT_MAX_BYTES, is_bucket_name, large_payloads_of, resolver
from fanfold.errors import ConfigurationError, DecodeError, ServiceError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries, InMemoryStore
from fanfold.payloads import LargePayloads, open_store
from fanfold.testing import make_context, make_event, make_extended_record, make_record
from idempotent import opening, run

MIB = 1024 * 1024


class Metered(InMemoryStore):
    """A store that counts requests and the bytes that are read from it."""

    def __init__(self, **objects: bytes) -> None:
        super().__init__()
        self.fill("payloads", objects)
        self.requests = 0
        self.bytes_read = 0

    async def head(self, bucket: str, key: str) -> Any:
        self.requests += 1
        return await super().head(bucket, key)

    async def read(self, bucket: str, key: str, **where: Any) -> AsyncGenerator[bytes, None]:
        self.requests += 1
        async for piece in super().read(bucket, key, **where):
            self.bytes_read += len(piece)
            yield piece


def pointing(key: str, size_bytes: int, *, bucket: str = "payloads", message_id: str = "message-0") -> dict[str, Any]:
    return make_extended_record(bucket, key, size_bytes=size_bytes, message_id=message_id)


async def length(text: str) -> int:
    return len(text)


def reason(store: InMemoryStore, record: dict[str, Any], **settings: Any) -> str:
    """Deliver a record with a healthy one, and return the reason why it is rejected."""
    handler = fanfold.consumer(large_payloads=LargePayloads(open_store=opening(store), **settings))(length)
    healthy, rejected = run(handler, make_record("abc", message_id="healthy"), record)
    assert healthy == Done(3)
    assert isinstance(rejected, Rejected)
    return rejected.reason


def test_a_pointer_that_states_10_bytes_does_not_load_300_mb():
    """One byte more than stated is read; the record is rejected, and the others of the batch are processed."""
    store = Metered(key=b"x" * 300_000_000)
    assert reason(store, pointing("key", 10)) == (
        "the payload s3://payloads/key has more than the 10 bytes that its message states"
    )
    assert store.bytes_read == 11


def test_a_payload_that_is_stated_to_be_too_large_is_not_read():
    """No request is made for it."""
    store = Metered(key=b"x" * 101)
    assert reason(store, pointing("key", 101), max_bytes=100) == (
        "the payload s3://payloads/key is too large: its message states 101 bytes, and the limit is 100"
    )
    assert store.requests == 0


def test_a_payload_of_the_exact_limit_is_read_with_one_request():
    """The limit is inclusive, and a healthy payload costs no further request."""
    store = Metered(key=b"x" * 100)
    handler = fanfold.consumer(large_payloads=LargePayloads(max_bytes=100, open_store=opening(store)))(length)
    assert run(handler, pointing("key", 100)) == [Done(100)]
    assert (store.requests, store.bytes_read) == (1, 100)


def test_an_object_smaller_than_stated_is_rejected():
    """It was replaced or written incompletely."""
    assert reason(Metered(key=b"x" * 9), pointing("key", 10)) == (
        "the payload s3://payloads/key has 9, and not the 10 bytes that its message states"
    )


def test_a_stated_size_may_include_the_message_attributes():
    """Some client libraries state the size of the body and the attributes; AWS's state that of the body."""
    handler = fanfold.consumer(large_payloads=opening(Metered(key=b"x" * 18)))(length)
    record = pointing("key", 18 + 32)
    attribute = {"dataType": "String", "stringValue": "attr value"}
    record["messageAttributes"]["MessageAttribute"] = attribute
    assert run(handler, record) == [Done(18)]
    record["messageAttributes"]["ExtendedPayloadSize"]["stringValue"] = "51"
    assert isinstance(run(handler, record)[0], Rejected)


@pytest.mark.parametrize("size", ["", "ten", "-1", "1.5", "1e9", "٣", "9" * 5_000, None, 10])
def test_a_size_that_is_not_a_number_is_rejected(size: Any):
    """The client libraries always state the number of bytes."""
    record = pointing("key", 1)
    record["messageAttributes"]["ExtendedPayloadSize"]["stringValue"] = size
    expected = "the message points to S3, but the attribute with the size of its payload is not a number"
    assert reason(Metered(key=b"x"), record) == expected
    record["messageAttributes"]["ExtendedPayloadSize"] = None
    assert reason(Metered(key=b"x"), record) == expected


def test_a_key_with_line_breaks_is_shown_on_one_line():
    """A sender cannot write lines into the log."""
    assert reason(Metered(), pointing("a\nERROR b", 1)) == "the payload 's3://payloads/a\\nERROR b' does not exist"


def test_an_empty_payload_is_allowed():
    """A client that sends everything through S3 may send an empty body."""
    handler = fanfold.consumer(large_payloads=opening(Metered(key=b"")))(length)
    assert run(handler, pointing("key", 0)) == [Done(0)]


def test_a_bucket_that_is_not_allowed_is_not_read():
    """The sender chooses the bucket; the consumer decides which ones it reads."""
    store = Metered(key=b"x")
    store.fill("salaries", {"key": b"x"})
    assert reason(store, pointing("key", 1, bucket="salaries"), buckets=("payloads", "more-payloads")) == (
        "the payload s3://salaries/key is in a bucket that is not allowed; LargePayloads allows payloads, more-payloads"
    )
    assert store.requests == 0
    handler = fanfold.consumer(large_payloads=LargePayloads(("payloads",), open_store=opening(store)))(length)
    assert run(handler, pointing("key", 1)) == [Done(1)]


@pytest.mark.parametrize(
    "bucket",
    [
        "a",
        "no spaces",
        "a/b",
        "../../etc",
        "x" * 256,
        "ünicode",
        "\ud800x\ud800",
        "arn:aws:s3:::bucket",
        "a\nb",
        "?&=#",
    ],
)
def test_an_impossible_bucket_is_rejected_without_a_request(bucket: str):
    """No redelivery makes the name valid. The reason is one short line."""
    store = Metered()
    text = reason(store, pointing("key", 1, bucket=bucket))
    assert text.startswith("the message points to S3, but '")
    assert text.endswith(" is not a valid name for a bucket")
    assert text.isascii()
    assert len(text) < 200
    assert "\n" not in text
    assert store.requests == 0


@pytest.mark.parametrize("key", ["k" * 1_025, "ä" * 513, "\ud800"])
def test_an_impossible_key_is_rejected_without_a_request(key: str):
    """A key has at most 1,024 bytes of UTF-8."""
    store = Metered()
    text = reason(store, pointing(key, 1))
    assert text.endswith("is not a valid key: a key is UTF-8 text of up to 1,024 bytes")
    assert len(text.encode()) < 300
    assert store.requests == 0


@pytest.mark.parametrize("code", ["InvalidBucketName", "KeyTooLongError", "ParamValidationError", "InvalidURI"])
def test_a_name_that_s3_refuses_is_rejected(code: str):
    """S3's rules depend on the age of a bucket, so S3 decides."""

    class Refusing(InMemoryStore):
        async def read(self, bucket: str, key: str, **where: Any) -> AsyncGenerator[bytes, None]:
            raise ServiceError("The specified bucket is not valid.", code=code, transient=False)
            yield b""

    expected = f"S3 refuses the location of the payload s3://payloads/key: {code}"
    assert reason(Refusing(), pointing("key", 1)) == expected


def test_the_limit_applies_to_idempotent_and_to_list_handlers():
    """A payload is read before its idempotency key is known, and by handlers of lists."""
    store = Metered(key=b"x" * 300, fine=b'"id"')
    payloads = LargePayloads(max_bytes=100, open_store=opening(store))
    idempotency = Idempotency(str, open_entries=opening(InMemoryEntries()), prefix="p")

    async def handler(order: str) -> None: ...

    async def of_lists(orders: list[str]) -> None: ...

    for consumer in (
        fanfold.consumer(large_payloads=payloads, idempotency=idempotency)(handler),
        fanfold.consumer(large_payloads=payloads, chunk_size=10)(of_lists),
    ):
        too_large, lying, fine = run(consumer, pointing("key", 300), pointing("key", 50), pointing("fine", 4))
        assert isinstance(too_large, Rejected)
        assert isinstance(lying, Rejected)
        assert fine == Done()


@pytest.mark.parametrize(
    ("memory_mb", "limit"), [(128, 32 * MIB), (512, 128 * MIB), (1_024, 256 * MIB), (10_240, 256 * MIB)]
)
def test_the_default_limit_fits_the_memory_of_the_function(memory_mb: int, limit: int):
    """A payload that has the function killed would have the whole batch redelivered."""
    assert LargePayloads().limit(memory_mb * MIB) == limit
    store = Metered()
    handler = fanfold.consumer(large_payloads=opening(store))(length)
    event = make_event(records=[pointing("key", limit + 1), pointing("key", limit, message_id="missing")])
    context = make_context()
    context.memory_limit_in_mb = memory_mb
    too_large, missing = handler.invoke(event, context).outcomes
    handler.close()
    assert f"the limit is {limit:,}" in too_large.reason
    assert missing == Rejected("the payload s3://payloads/key does not exist")


def test_without_a_known_memory_the_limit_is_256_mib():
    """Outside Lambda, and in users' tests; an explicit limit always applies."""
    assert LargePayloads().limit(None) == DEFAULT_MAX_BYTES == 268_435_456
    assert LargePayloads(max_bytes=7).limit(128 * MIB) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"buckets": "payloads"},
            "buckets must be a tuple of names of S3 buckets, such as ('payloads',), or None, not 'pa",
        ),
        ({"buckets": ()}, "buckets must be a tuple of names"),
        ({"buckets": ("a b",)}, "buckets must be a tuple of names"),
        ({"buckets": (1,)}, "buckets must be a tuple of names"),
        ({"buckets": 7}, "buckets must be a tuple of names"),
        ({"max_bytes": 0}, "max_bytes must be an integer of at least 1, or None, not 0"),
        ({"max_bytes": True}, "max_bytes must be an integer"),
        ({"max_bytes": 1e6}, "max_bytes must be an integer"),
        ({"open_store": InMemoryStore()}, "open_store must be a function that opens a store, or None, not <"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], message: str):
    """The error names the argument and what it must be."""
    with pytest.raises(ConfigurationError, match=f"^LargePayloads: {re.escape(message)}"):
        LargePayloads(**arguments)


def test_every_form_of_the_setting_is_one_value():
    """True is the default limits; a function that opens a store has them too."""
    assert large_payloads_of(setting=True) == LargePayloads()
    assert large_payloads_of(setting=False) is None
    assert large_payloads_of(open_store) == LargePayloads(open_store=open_store)
    assert large_payloads_of(LargePayloads(("payloads",))) == LargePayloads(("payloads",))


def test_the_value_is_immutable_and_comparable():
    """Like all values of fanfold."""
    payloads = LargePayloads(["payloads"], 10)
    assert payloads == LargePayloads(buckets=("payloads",), max_bytes=10)
    with pytest.raises(AttributeError, match="immutable"):
        payloads.max_bytes = 11  # type: ignore[misc]


def test_a_rejected_pointer_is_one_clear_line_in_the_log(caplog: pytest.LogCaptureFixture):
    """It has no traceback: the message is at fault."""
    handler = fanfold.consumer(large_payloads=opening(Metered(key=b"xx")))(length)
    with caplog.at_level(logging.WARNING, "fanfold"):
        run(handler, pointing("key", 1))
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert line.getMessage() == (
        "1 messages were rejected but no dead-letter queue is configured, so they will be redelivered; "
        "first: message-0 (the payload s3://payloads/key has more than the 1 bytes that its message states)"
    )


@given(stated=st.integers(0, 300), size=st.integers(0, 300), limit=st.integers(1, 300), note=st.text(max_size=5))
def test_a_payload_is_delivered_if_it_is_what_its_message_states(stated: int, size: int, limit: int, note: str):
    """In any case, at most one byte more than the stated size or the limit is read, with at most one request."""
    store = Metered(key=b"x" * size)
    record = pointing("key", stated)
    if note:
        record["messageAttributes"]["note"] = {"dataType": "String", "stringValue": note}
    attribute_bytes = 10 + len(note.encode(errors="replace")) if note else 0

    async def resolve() -> Record:
        async def opened() -> InMemoryStore:
            return store

        return await resolver(opened, LargePayloads(), limit)(Record(record))

    fits = stated <= limit and stated - attribute_bytes <= size <= stated
    if fits:
        assert anyio.run(resolve).body == "x" * size
    else:
        with pytest.raises(DecodeError):
            anyio.run(resolve)
    assert store.requests <= 1
    assert store.bytes_read <= min(stated, limit) + 1


@given(st.text() | st.from_regex(r"[a-zA-Z0-9._-]{1,300}", fullmatch=True) | st.from_regex(r"arn:aws:s3:[a-z0-9:/-]*"))
def test_the_sdk_accepts_every_bucket_that_passes(name: str):
    """Otherwise the SDK's error would have the message redelivered."""
    if is_bucket_name(name) and not name.startswith("arn:"):
        try:
            validate_bucket_name({"Bucket": name})
        except ParamValidationError:
            pytest.fail(f"{name!r} is refused by the SDK")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda items: st.lists(items) | st.dictionaries(st.sampled_from(["s3BucketName", "s3Key", "x"]), items),
    )
)
def test_any_body_is_a_payload_or_a_permanent_error(body: Any):
    """Nothing that a sender writes into a pointer causes a redelivery."""
    record = pointing("key", 1)
    record["body"] = json.dumps(["software.amazon.payloadoffloading.PayloadS3Pointer", body])
    handler = fanfold.consumer(large_payloads=opening(Metered()))(length)
    assert isinstance(run(handler, record)[0], Rejected)
