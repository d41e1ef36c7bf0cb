"""An object store on S3."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio

from fanfold._base import aws_limits
from fanfold._base.concurrency import for_each
from fanfold._base.retry import Sleep
from fanfold._ports.stores import Listed, ObjectInfo
from fanfold.aws.clients import client_of
from fanfold.aws.faults import error_from, map_errors
from fanfold.aws.s3_read import ByteRange, read_range
from fanfold.errors import (
    ConfigurationError,
    FanfoldError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ServiceError,
)

_COPY_OF: Final = "fanfold-copy-of"
"""Metadata key of a copy; the value is the ETag of the original."""
_COPIED_HEADERS: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "WebsiteRedirectLocation",
)
"""Headers that a copy loses, unless they are set again, when its metadata is replaced."""
_CONCURRENT_COPIES: Final = 8
_CONCURRENT_UPLOADS: Final = 4
_ABORT_SECONDS: Final = 5
_SELECTED: Final[Mapping[str, Mapping[str, Any]]] = {
    "csv": {"CSV": {"FileHeaderInfo": "USE", "AllowQuotedRecordDelimiter": True}},
    "jsonl": {"JSON": {"Type": "LINES"}},
    "parquet": {"Parquet": {}},
}
_NO_SELECT: Final = frozenset({"MethodNotAllowed", "NotImplemented"})
_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that are valid in a key, but not in the XML body of DeleteObjects."""


_CONFIG: Final[Mapping[str, Any]] = {"connect_timeout": 3, "read_timeout": 30, "max_pool_connections": 50}


@contextlib.asynccontextmanager
async def open_s3() -> AsyncGenerator[S3Store, None]:
    """Yield a store with a separate client; credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("s3", "S3", _CONFIG) as client:
        yield S3Store(client)


class S3Store:
    """S3, over an aiobotocore client.

    Args:
        client: The client.
        page_keys: Keys per page of a listing, from 1 to 1,000.
        copy_bytes: Largest object that is copied in one call; at most 5 GB, the limit of S3.
        part_bytes: Part size for copies of larger objects, from 5 MiB to 5 GB; raised if 10,000 parts are too few.
        upload_bytes: Largest file that is uploaded in one call, and part size of larger ones; at least 5 MiB.
        sleep: Waits before a read whose connection broke is resumed.
    """

    def __init__(
        self,
        client: Any,
        *,
        page_keys: int = aws_limits.S3_PAGE_KEYS,
        copy_bytes: int = aws_limits.S3_COPY_BYTES,
        part_bytes: int = 1_073_741_824,
        upload_bytes: int = 16_777_216,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self._client = client
        self._page_keys = page_keys
        self._copy_bytes = copy_bytes
        self._part_bytes = part_bytes
        self._upload_bytes = upload_bytes
        self._sleep = sleep

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return the size and the ETag of an object, and the ETag of the object that it is a copy of."""
        return _info(await self._call(f"s3://{bucket}/{key}", "head_object", Bucket=bucket, Key=key))

    async def read_start(self, bucket: str, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return the metadata of an object and its first bytes, in one request unless the object is empty."""
        left = ByteRange(bucket, key, 0, max_bytes, None)
        data = b"".join([chunk async for chunk in read_range(self._client, left, sleep=self._sleep)])
        if left.first is None:  # S3 cannot return a range of an empty object
            return await self.head(bucket, key), b""
        return _info(left.first), data

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of bytes, in chunks as they arrive; resume where a connection broke."""
        if stop is not None and stop <= start:
            if etag not in {None, (await self.head(bucket, key)).etag}:  # S3 cannot return an empty range
                raise ObjectChangedError(f"s3://{bucket}/{key}: has changed: its ETag is not the pinned one")
            return
        left = ByteRange(bucket, key, start, stop, etag)
        async with contextlib.aclosing(read_range(self._client, left, sleep=self._sleep)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object."""
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            with map_errors(f"s3://{bucket}/{key}"):
                await self._client.put_object(Bucket=bucket, Key=key, Body=data, **condition)
        except ObjectChangedError as error:
            raise ObjectExistsError(f"s3://{bucket}/{key} exists") from error

    async def put_file(
        self, bucket: str, key: str, file: Path, *, content_type: str = "", if_absent: bool = False
    ) -> None:
        """Write a file as an object: in one call up to 16 MiB, otherwise in parts, four concurrently."""
        resource, target = f"s3://{bucket}/{key}", {"Bucket": bucket, "Key": key}
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        options = {**target, **({"ContentType": content_type} if content_type else {})}
        size = (await anyio.Path(file).stat()).st_size
        try:
            if size <= self._upload_bytes:
                body = await anyio.Path(file).read_bytes()
                await self._call(resource, "put_object", **options, **condition, Body=body)
            else:
                await self._upload(resource, options, condition, functools.partial(self._send_parts, file, size))
        except ObjectChangedError as error:
            raise ObjectExistsError(f"{resource} exists") from error

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Listed, None]:
        """Yield the objects whose keys start with a prefix, in key order, page by page."""
        request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": self._page_keys}
        if start_after:
            request["StartAfter"] = start_after
        while True:
            page = await self._call(f"s3://{bucket}/{prefix}", "list_objects_v2", **request)
            for item in page.get("Contents", []):
                yield Listed(item["Key"], item["Size"], item["ETag"], item["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    async def copy(
        self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str, if_absent: bool = False
    ) -> None:
        """Copy an object: in one call up to 5 GB, otherwise in parts (which does not copy its tags)."""
        name = f"s3://{bucket}/{key}"
        head = await self._call(name, "head_object", Bucket=bucket, Key=key)
        if head["ETag"] != etag:
            raise ObjectChangedError(f"{name}: has changed: its ETag is not the pinned one")
        # Check first, since emulators ignore If-None-Match on a copy. S3 honors it, which rules out a race.
        if if_absent and await self._exists(to_bucket, to_key):
            raise ObjectExistsError(f"s3://{to_bucket}/{to_key} exists")
        try:
            await self._copy(head, {"Bucket": bucket, "Key": key}, {"Bucket": to_bucket, "Key": to_key}, if_absent)
        except ObjectChangedError:
            # S3 returns the same error for either of the two conditions.
            if if_absent and await self._exists(to_bucket, to_key):
                raise ObjectExistsError(f"s3://{to_bucket}/{to_key} exists") from None
            raise

    async def _copy(
        self, head: Mapping[str, Any], original: Mapping[str, str], target: Mapping[str, str], if_absent: bool
    ) -> None:
        resource = f"s3://{original['Bucket']}/{original['Key']} to s3://{target['Bucket']}/{target['Key']}"
        source = {"CopySource": original, "CopySourceIfMatch": head["ETag"]}
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        options = {field: head[field] for field in _COPIED_HEADERS if head.get(field) is not None}
        options["Metadata"] = {**head.get("Metadata", {}), _COPY_OF: head["ETag"]}
        if head["ContentLength"] <= self._copy_bytes:
            options["MetadataDirective"] = "REPLACE"
            await self._call(resource, "copy_object", **target, **source, **options, **condition)
            return
        copy_parts = functools.partial(self._copy_parts, source, head["ContentLength"])
        await self._upload(resource, {**target, **options}, condition, copy_parts)

    async def _upload(
        self,
        resource: str,
        options: Mapping[str, Any],
        condition: Mapping[str, str],
        send_parts: Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Mapping[str, Any]]]],
    ) -> None:
        """Write an object with a multipart upload, which is aborted if it fails."""
        started = await self._call(resource, "create_multipart_upload", **options)
        upload = {"Bucket": options["Bucket"], "Key": options["Key"], "UploadId": started["UploadId"]}
        try:
            parts = {"Parts": await send_parts(resource, upload)}
            await self._call(resource, "complete_multipart_upload", **upload, **condition, MultipartUpload=parts)
        except BaseException:
            # An incomplete upload costs money each month. Suppress an error here: the first one is the cause.
            with anyio.move_on_after(_ABORT_SECONDS, shield=True), contextlib.suppress(FanfoldError):
                await self._call(resource, "abort_multipart_upload", **upload)
            raise

    async def _exists(self, bucket: str, key: str) -> bool:
        try:
            await self.head(bucket, key)
        except ObjectMissingError:
            return False
        return True

    async def _send_parts(
        self, file: Path, size_bytes: int, resource: str, upload: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        length = max(self._upload_bytes, -(-size_bytes // aws_limits.S3_PARTS))
        etags: dict[int, str] = {}

        async def send_part(part: tuple[int, int]) -> None:
            number, start = part
            async with await anyio.open_file(file, "rb") as data:
                await data.seek(start)
                body = await data.read(length)
            response = await self._call(resource, "upload_part", **upload, PartNumber=number, Body=body)
            etags[number] = response["ETag"]

        await for_each(send_part, enumerate(range(0, size_bytes, length), 1), concurrency=_CONCURRENT_UPLOADS)
        return [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]

    async def _copy_parts(
        self, source: Mapping[str, Any], size_bytes: int, resource: str, upload: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        length = max(self._part_bytes, -(-size_bytes // aws_limits.S3_PARTS))
        etags: dict[int, str] = {}

        async def copy_part(part: tuple[int, int]) -> None:
            number, start = part
            byte_range = f"bytes={start}-{min(start + length, size_bytes) - 1}"
            response = await self._call(
                resource, "upload_part_copy", **upload, **source, PartNumber=number, CopySourceRange=byte_range
            )
            etags[number] = response["CopyPartResult"]["ETag"]

        await for_each(copy_part, enumerate(range(0, size_bytes, length), 1), concurrency=_CONCURRENT_COPIES)
        return [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        """Delete 1 to 1,000 objects; return the errors, by position, of those that were not deleted."""
        one_by_one = [position for position, (key, _) in enumerate(objects) if _NOT_IN_XML.search(key)]
        in_one_call = [position for position in range(len(objects)) if position not in one_by_one]
        errors = await self._delete_in_one_call(bucket, {position: objects[position] for position in in_one_call})
        for position in one_by_one:
            key, etag = objects[position]
            try:
                await self._call(
                    f"s3://{bucket}/{key}",
                    "delete_object",
                    Bucket=bucket,
                    Key=key,
                    **({"IfMatch": etag} if etag else {}),
                )
            except ObjectMissingError:
                continue
            except FanfoldError as error:
                errors[position] = error
        return errors

    async def _delete_in_one_call(
        self, bucket: str, objects: Mapping[int, tuple[str, str | None]]
    ) -> dict[int, FanfoldError]:
        if not objects:
            return {}
        entries = [{"Key": key, "ETag": etag} if etag else {"Key": key} for key, etag in objects.values()]
        response = await self._call(
            f"s3://{bucket}", "delete_objects", Bucket=bucket, Delete={"Objects": entries, "Quiet": True}
        )
        errors = {
            error["Key"]: error_from(error["Code"], error.get("Message", ""), f"s3://{bucket}/{error['Key']}")
            for error in response.get("Errors", [])
        }
        return {
            position: errors[key]
            for position, (key, _) in objects.items()
            if key in errors and not isinstance(errors[key], ObjectMissingError)
        }

    async def select(
        self,
        bucket: str,
        key: str,
        expression: str,
        *,
        kind: str,
        compression: str | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the result of an S3 Select query on an object, as JSON Lines, event by event."""
        name = f"s3://{bucket}/{key}"
        try:
            response = await self._call(
                name,
                "select_object_content",
                Bucket=bucket,
                Key=key,
                Expression=expression,
                ExpressionType="SQL",
                InputSerialization={**_SELECTED[kind], "CompressionType": (compression or "none").upper()},
                OutputSerialization={"JSON": {"RecordDelimiter": "\n"}},
            )
        except ServiceError as error:
            if error.code not in _NO_SELECT:
                raise
            raise ConfigurationError(
                f"{name}: S3 Select is not available ({error.code}): AWS has closed it to new customers; use S3Lines"
            ) from error
        ended = False
        async with contextlib.aclosing(_events(name, response["Payload"])) as events:
            async for event in events:
                if "Records" in event:
                    yield event["Records"]["Payload"]
                ended = ended or "End" in event
        if not ended:  # the result may be incomplete
            raise ServiceError(f"{name}: the response of S3 Select ended early", code="NoEndEvent", transient=True)

    async def _call(self, resource: str, operation: str, **arguments: Any) -> Any:
        with map_errors(resource):
            return await getattr(self._client, operation)(**arguments)


def _info(response: Mapping[str, Any]) -> ObjectInfo:
    """Return the metadata in the response to a HEAD request, or to a GET request of a range."""
    place = str(response.get("ContentRange", ""))
    size = int(place.rpartition("/")[2]) if place else response["ContentLength"]
    copy_of = response.get("Metadata", {}).get(_COPY_OF)
    return ObjectInfo(size, response["ETag"], copy_of, response.get("ContentEncoding"))


async def _events(name: str, stream: Any) -> AsyncGenerator[Mapping[str, Any], None]:
    events = aiter(stream)
    try:
        while True:
            with map_errors(name):
                event = await anext(events, None)
            if event is None:
                return
            yield event
    finally:
        stream.close()
