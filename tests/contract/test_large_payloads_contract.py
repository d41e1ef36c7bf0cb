"""Contract of large payloads, on the in-memory store and on S3: what is fetched, and what is rejected."""

from typing import Any

import pytest

import fanfold
from buckets import Bucket
from fanfold import Done, Rejected
from fanfold._base.outcome import Outcome
from fanfold.payloads import LargePayloads
from fanfold.testing import make_event, make_extended_record, make_record
from idempotent import opening


async def outcome_of(bucket: Bucket, key: str, size_bytes: int, *, name: str = "", **settings: Any) -> Outcome:
    """Process a pointer together with an ordinary message, and return its outcome."""

    async def length(text: str) -> int:
        return len(text)

    payloads = LargePayloads(open_store=opening(bucket.store), **settings)
    handler = fanfold.consumer(large_payloads=payloads)(length)
    pointer = make_extended_record(name or bucket.name, key, size_bytes=size_bytes)
    result = await handler.process(make_event(records=[make_record("abc", message_id="ordinary"), pointer]))
    assert result.outcomes[0] == Done(3)
    return result.outcomes[1]


async def test_a_payload_of_the_stated_size_is_fetched(bucket: Bucket):
    """Its size may be the limit."""
    await bucket.put("key", b"x" * 100_000)
    assert await outcome_of(bucket, "key", 100_000, max_bytes=100_000) == Done(100_000)


async def test_an_empty_payload_is_fetched(bucket: Bucket):
    """S3 has no range for it, but it is read all the same."""
    await bucket.put("key", b"")
    assert await outcome_of(bucket, "key", 0) == Done(0)


@pytest.mark.parametrize(
    ("size_bytes", "actual"), [(10, "more than the 10 bytes"), (100_001, "100,000, and not the 100,001 bytes")]
)
async def test_a_payload_of_another_size_is_rejected(bucket: Bucket, size_bytes: int, actual: str):
    """The reason names the object and both sizes, as far as they are known."""
    await bucket.put("key", b"x" * 100_000)
    expected = Rejected(f"the payload s3://{bucket.name}/key has {actual} that its message states")
    assert await outcome_of(bucket, "key", size_bytes) == expected


async def test_a_payload_above_the_limit_is_rejected(bucket: Bucket):
    """The stated size decides, before anything is read."""
    await bucket.put("key", b"x" * 11)
    expected = "is too large: its message states 11 bytes, and the limit is 10"
    assert await outcome_of(bucket, "key", 11, max_bytes=10) == Rejected(
        f"the payload s3://{bucket.name}/key {expected}"
    )


@pytest.mark.parametrize("name", ["", "nowhere-c0ffee"])
async def test_a_payload_or_a_bucket_that_does_not_exist_is_rejected(bucket: Bucket, name: str):
    """A redelivery cannot fix it."""
    expected = Rejected(f"the payload s3://{name or bucket.name}/gone does not exist")
    assert await outcome_of(bucket, "gone", 1, name=name) == expected


@pytest.mark.parametrize(
    "name", ["a", "UPPER", "under_score", "a..b", "-dash", "dash-", "192.168.5.4", "x" * 64, "a b", "a/b", "\ud800"]
)
async def test_a_bucket_name_that_s3_would_refuse_is_rejected(bucket: Bucket, name: str):
    """The message is not redelivered, no matter whether fanfold, the SDK or S3 refuses it."""
    assert isinstance(await outcome_of(bucket, "key", 1, name=name), Rejected)


@pytest.mark.parametrize("key", ["k" * 1_025, "\ud800"])
async def test_a_key_that_s3_would_refuse_is_rejected(bucket: Bucket, key: str):
    """A key is UTF-8 text of up to 1,024 bytes."""
    assert isinstance(await outcome_of(bucket, key, 1), Rejected)


async def test_a_bucket_that_is_not_allowed_is_rejected(bucket: Bucket):
    """Even if the function may read it."""
    await bucket.put("key", b"x")
    outcome = await outcome_of(bucket, "key", 1, buckets=("another-bucket",))
    assert isinstance(outcome, Rejected)
    assert "is in a bucket that is not allowed" in outcome.reason
    assert await outcome_of(bucket, "key", 1, buckets=("another-bucket", bucket.name)) == Done(1)
