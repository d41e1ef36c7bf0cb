"""What the store on AWS makes of S3 when it fails, breaks off, or changes amid a copy."""

import asyncio
import uuid
from typing import Any

import pytest

from buckets import Bucket
from fanfold._stack.emulator import LocalStack
from fanfold.aws.s3 import S3Store
from fanfold.errors import ObjectChangedError, ServiceError
from on_aws import unanswered


@pytest.mark.stack
@pytest.mark.parametrize("act", ["head", "read", "put", "list", "copy", "delete"])
async def test_a_store_that_does_not_answer_may_answer_later(aws: LocalStack, session, act):
    """A call that reaches nobody is a fault of the service that may pass."""
    async with unanswered(session, "s3") as client:
        silent = S3Store(client)
        calls = {
            "head": lambda: silent.head("bucket", "key"),
            "read": lambda: anext(silent.read("bucket", "key")),
            "put": lambda: silent.put("bucket", "key", b"data"),
            "list": lambda: anext(silent.list("bucket")),
            "copy": lambda: silent.copy("bucket", "key", "bucket", "copy", etag='"0"'),
            "delete": lambda: silent.delete_many("bucket", [("key", None)]),
        }
        with pytest.raises(ServiceError) as raised:
            await calls[act]()
    assert raised.value.transient is True


class ReplacedAmidACopy(S3Store):
    """A store whose original is replaced when the first part of a copy is about to be made."""

    async def _call(self, what: str, operation: str, **arguments: Any) -> Any:
        if operation == "upload_part_copy" and arguments["PartNumber"] == 1:
            await self.put(arguments["CopySource"]["Bucket"], "key", b"1" * 6_000_001)
        return await super()._call(what, operation, **arguments)


@pytest.mark.stack
async def test_a_large_original_replaced_amid_its_copy_leaves_nothing(aws: LocalStack, session):
    """A copy of parts of two objects is never made, and no part of it is left to be paid for."""
    name = f"bucket-{uuid.uuid4().hex}"
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        bucket = Bucket(ReplacedAmidACopy(client, copy_bytes=6_000_000, part_bytes=5_242_880), name)
        await bucket.put("key", bytes(6_000_001))
        with pytest.raises(ObjectChangedError):
            await bucket.copy("key", "copy")
        assert await bucket.keys() == ["key"]
        assert "Uploads" not in await client.list_multipart_uploads(Bucket=name)


@pytest.mark.stack
async def test_a_copy_keeps_how_the_original_is_served(aws: LocalStack, session):
    """A copy has its original's type, encoding and metadata, whether it was made in one call or in parts."""
    name = f"bucket-{uuid.uuid4().hex}"
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        bucket = Bucket(S3Store(client, copy_bytes=6_000_000, part_bytes=5_242_880), name)
        for key, size in {"small": 5, "large": 6_000_001}.items():
            served = {"ContentType": "text/csv", "CacheControl": "no-cache", "ContentDisposition": 'filename="a.csv"'}
            await client.put_object(Bucket=name, Key=key, Body=bytes(size), Metadata={"owner": "me"}, **served)
            await bucket.copy(key, f"copy-of-{key}")
            head = await client.head_object(Bucket=name, Key=f"copy-of-{key}")
            assert served.items() <= head.items()
            assert head["Metadata"]["owner"] == "me"


async def answer_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise 1,000 bytes, send 3 and hang up."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "0"\r\n\r\nabc')
    writer.close()


async def test_an_object_that_breaks_off_may_be_read_later(session):
    """A connection that ends amid an object is a fault of the service that may pass, not an end of the object."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    async with await asyncio.start_server(answer_half, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with session.create_client("s3", endpoint_url=url, verify=False, **credentials) as client:
            with pytest.raises(ServiceError) as raised:
                [piece async for piece in S3Store(client).read("bucket", "key")]
    assert raised.value.transient is True
