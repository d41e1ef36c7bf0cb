"""The store on S3 when S3 fails, ends a response early, or replaces an object during a copy."""

import asyncio
import uuid
from typing import Any

import pytest

from buckets import Bucket
from fanfold._stack.emulator import LocalStack
from fanfold.aws.s3 import S3Store
from fanfold.errors import ObjectChangedError, ServiceError
from on_aws import without_server


@pytest.mark.stack
@pytest.mark.parametrize("act", ["head", "read", "put", "list", "copy", "delete"])
async def test_no_response_is_a_transient_error(aws: LocalStack, session, act):
    """A refused connection raises a transient service error."""
    async with without_server(session, "s3") as client:
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


class ReplacedDuringCopy(S3Store):
    """A store that replaces the original before it copies the first part."""

    async def _call(self, resource: str, operation: str, **arguments: Any) -> Any:
        if operation == "upload_part_copy" and arguments["PartNumber"] == 1:
            await self.put(arguments["CopySource"]["Bucket"], "key", b"1" * 6_000_001)
        return await super()._call(resource, operation, **arguments)


@pytest.mark.stack
async def test_a_multipart_copy_of_an_object_that_is_replaced_meanwhile_is_aborted(aws: LocalStack, session):
    """The store never combines parts of two objects, and leaves no incomplete upload."""
    name = f"bucket-{uuid.uuid4().hex}"
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        bucket = Bucket(ReplacedDuringCopy(client, copy_bytes=6_000_000, part_bytes=5_242_880), name)
        await bucket.put("key", bytes(6_000_001))
        with pytest.raises(ObjectChangedError):
            await bucket.copy("key", "copy")
        assert await bucket.keys() == ["key"]
        assert "Uploads" not in await client.list_multipart_uploads(Bucket=name)


@pytest.mark.stack
async def test_a_copy_keeps_headers_and_metadata(aws: LocalStack, session):
    """This holds for copies in one call and in parts."""
    name = f"bucket-{uuid.uuid4().hex}"
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        bucket = Bucket(S3Store(client, copy_bytes=6_000_000, part_bytes=5_242_880), name)
        for key, size in {"small": 5, "large": 6_000_001}.items():
            headers = {"ContentType": "text/csv", "CacheControl": "no-cache", "ContentDisposition": 'filename="a.csv"'}
            await client.put_object(Bucket=name, Key=key, Body=bytes(size), Metadata={"owner": "me"}, **headers)
            await bucket.copy(key, f"copy-of-{key}")
            head = await client.head_object(Bucket=name, Key=f"copy-of-{key}")
            assert headers.items() <= head.items()
            assert head["Metadata"]["owner"] == "me"


async def respond_partly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Announce 1,000 bytes, send 3, and close the connection."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "0"\r\n\r\nabc')
    writer.close()


async def test_a_truncated_response_is_a_transient_error(session):
    """A closed connection is not mistaken for the end of the object."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    async with await asyncio.start_server(respond_partly, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with session.create_client("s3", endpoint_url=url, verify=False, **credentials) as client:
            with pytest.raises(ServiceError) as raised:
                [chunk async for chunk in S3Store(client).read("bucket", "key")]
    assert raised.value.transient is True
