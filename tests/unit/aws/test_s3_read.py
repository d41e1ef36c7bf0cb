"""Reads of S3 objects whose connection breaks."""

import random

import pytest

from cutting_s3 import CuttingS3, at_positions, store_on
from fanfold.aws.s3 import S3Store
from fanfold.errors import ObjectChangedError, ServiceError


async def read(store: S3Store, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.read("bucket", "key", start=start, stop=stop)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.uncounted
async def test_a_connection_cut_at_20_points_loses_and_repeats_no_byte(seed: int):
    """Every byte is yielded once, and at most 1.1 times the bytes are fetched."""
    chosen = random.Random(seed)
    data = chosen.randbytes(8_000_000)
    s3 = CuttingS3({"key": data}, at_positions(chosen.sample(range(1, len(data)), 20)))
    async with store_on(s3) as store:
        assert await read(store) == data
    assert len(s3.requests) == 21
    assert s3.sent_bytes <= 1.1 * len(data)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 5), (3, 9), (3, None), (3, 10_000), (999, 1_000)])
@pytest.mark.uncounted
async def test_a_range_is_resumed_up_to_its_end(start: int, stop: int | None):
    """Also one that begins in the middle, has no end, or ends after the object."""
    data = random.Random(1).randbytes(1_000)
    s3 = CuttingS3({"key": data}, at_positions([start + 1, start + 4]))
    async with store_on(s3) as store:
        assert await read(store, start, stop) == data[start:stop]


async def test_a_connection_that_breaks_before_the_first_byte_of_each_response_is_a_transient_error():
    """After eight failures in a row, the read gives up."""
    s3 = CuttingS3({"key": b"12345"}, lambda start, _: 2 if start == 0 else 0)
    async with store_on(s3) as store:
        with pytest.raises(ServiceError, match="s3://bucket/key: ") as raised:
            await read(store)
    assert raised.value.transient is True
    assert s3.requests == ["GET", *["GET bytes=2-4"] * 7]


async def test_the_attempts_are_counted_anew_after_each_byte():
    """A connection that breaks after every byte is slow, but not a failure."""
    data = bytes(range(100))
    async with store_on(CuttingS3({"key": data}, lambda _start, _stop: 1)) as store:
        assert await read(store) == data


async def test_an_object_that_is_replaced_while_the_connection_is_broken_is_not_mixed():
    """The rest is read only from the same version."""
    s3 = CuttingS3({"key": b"first version"})

    def replace_and_cut(start: int, _stop: int) -> int | None:
        s3.objects["key"] = b"other version"
        return None if start else 3

    s3.cuts = replace_and_cut
    async with store_on(s3) as store:
        with pytest.raises(ObjectChangedError, match="s3://bucket/key: has changed"):
            await read(store)


async def test_a_first_response_that_does_not_arrive_is_not_retried_here():
    """The SDK has retried it as often as its configuration allows (here, at most once)."""
    s3 = CuttingS3({})
    async with store_on(s3) as store:
        with pytest.raises(ServiceError) as raised:
            await read(store)
    assert raised.value.transient is True
    assert len(s3.requests) <= 2


async def test_a_response_in_chunks_that_ends_early_is_resumed():
    """A proper end of the response is not the end of the range."""
    data = bytes(range(100))
    s3 = CuttingS3({"key": data}, at_positions([10, 50]), chunked=True)
    async with store_on(s3) as store:
        assert await read(store, 5, 95) == data[5:95]
    assert s3.requests == ["GET bytes=5-94", "GET bytes=10-94", "GET bytes=50-94"]


async def test_a_connection_that_fails_after_the_last_byte_is_no_error():
    """Every byte is there: the missing end of the response does not matter."""
    s3 = CuttingS3({"key": b"12345"}, chunked=True)
    async with store_on(s3) as store:
        assert await read(store, 0, 5) == b"12345"
    assert len(s3.requests) == 1


async def test_a_server_that_ignores_ranges_fails_the_read():
    """Bytes from the wrong place are never yielded."""
    s3 = CuttingS3({"key": b"12345"}, lambda _start, _stop: 2, careless=True)
    async with store_on(s3) as store:
        with pytest.raises(ServiceError, match="the response does not begin at byte 2") as raised:
            await read(store)
    assert raised.value.transient is True
    assert len(s3.requests) == 2


async def test_a_server_that_ignores_conditions_does_not_mix_versions():
    """The ETag of each response is compared."""
    s3 = CuttingS3({"key": b"first version"}, careless=True)

    def replace_and_cut(_start: int, _stop: int) -> int:
        s3.objects["key"] = b"other version"
        return 3

    s3.cuts = replace_and_cut
    async with store_on(s3) as store:
        with pytest.raises(ObjectChangedError, match="s3://bucket/key: has changed"):
            await read(store)


async def test_a_range_after_the_end_of_an_object_has_no_bytes():
    """S3 refuses it with InvalidRange, which is not an error here."""
    async with store_on(CuttingS3({"key": b"12345"})) as store:
        assert await read(store, 5, 9) == b""
        info, start = await store.read_start("bucket", "key", 3)
    assert (info.size_bytes, start) == (5, b"123")
