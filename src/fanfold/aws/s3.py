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
from fanfold._ports.stores import Listed, ObjectInfo
from fanfold.aws.clients import client_of
from fanfold.aws.faults import fault_of, faults_of
from fanfold.errors import (
    ConfigurationError,
    FanfoldError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ServiceError,
)

_PIECE_BYTES: Final = 262_144
_COPY_OF: Final = "fanfold-copy-of"
"""Name in the metadata of a copy; the value is the ETag of the original."""
_CARRIED: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "WebsiteRedirectLocation",
)
"""What a copy has to be given anew when its metadata is."""
_PARTS_AT_ONCE: Final = 8
_UPLOADS_AT_ONCE: Final = 4
_ABORT_SECONDS: Final = 5
_SELECTED: Final[Mapping[str, Mapping[str, Any]]] = {
    "csv": {"CSV": {"FileHeaderInfo": "USE", "AllowQuotedRecordDelimiter": True}},
    "jsonl": {"JSON": {"Type": "LINES"}},
    "parquet": {"Parquet": {}},
}
_NO_SELECT: Final = frozenset({"MethodNotAllowed", "NotImplemented"})
_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters a key may have and the body of a DeleteObjects may not."""


_CONFIG: Final[Mapping[str, Any]] = {"connect_timeout": 3, "read_timeout": 30, "max_pool_connections": 50}


@contextlib.asynccontextmanager
async def open_s3() -> AsyncGenerator[S3Store, None]:
    """Yield a store on a client of its own; credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If there is no region.
    """
    async with client_of("s3", "S3", _CONFIG) as client:
        yield S3Store(client)


class S3Store:
    """S3, over an aiobotocore client.

    Args:
        client: The client.
        page_keys: Keys asked for in one call of a listing, from 1 to 1,000.
        copy_bytes: Largest object that is copied in one call; at most 5 GB, which is S3's own limit.
        part_bytes: Size of the parts that a larger one is copied in, from 5 MiB to 5 GB; more if it takes over 10,000.
        upload_bytes: Largest file that is written in one call, and size of the parts of a larger one; from 5 MiB.
    """

    def __init__(
        self,
        client: Any,
        *,
        page_keys: int = aws_limits.S3_PAGE_KEYS,
        copy_bytes: int = aws_limits.S3_COPY_BYTES,
        part_bytes: int = 1_073_741_824,
        upload_bytes: int = 16_777_216,
    ) -> None:
        self._client = client
        self._page_keys = page_keys
        self._copy_bytes = copy_bytes
        self._part_bytes = part_bytes
        self._upload_bytes = upload_bytes

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return what is known of an object."""
        answer = await self._call(f"s3://{bucket}/{key}", "head_object", Bucket=bucket, Key=key)
        return ObjectInfo(answer["ContentLength"], answer["ETag"], answer.get("Metadata", {}).get(_COPY_OF))

    async def read(
        self, bucket: str, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of bytes, in pieces as they arrive."""
        if stop is not None and stop <= start:
            if etag not in {None, (await self.head(bucket, key)).etag}:  # S3 has no way to ask for no bytes
                raise ObjectChangedError(f"s3://{bucket}/{key}: is not the object that was pinned")
            return
        wanted = {"IfMatch": etag} if etag else {}
        if start or stop is not None:
            wanted["Range"] = f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"
        try:
            with faults_of(f"s3://{bucket}/{key}"):
                answer = await self._client.get_object(Bucket=bucket, Key=key, **wanted)
        except ServiceError as error:
            if error.code == "InvalidRange":
                return  # nothing lies there
            raise
        body = answer["Body"]  # what entering it gives has been another thing in earlier releases
        async with body:
            while True:
                with faults_of(f"s3://{bucket}/{key}"):
                    piece = await body.read(_PIECE_BYTES)
                if not piece:
                    return
                yield piece

    async def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write an object."""
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            with faults_of(f"s3://{bucket}/{key}"):
                await self._client.put_object(Bucket=bucket, Key=key, Body=data, **condition)
        except ObjectChangedError as error:
            raise ObjectExistsError(f"s3://{bucket}/{key} exists") from error

    async def put_file(
        self, bucket: str, key: str, file: Path, *, content_type: str = "", if_absent: bool = False
    ) -> None:
        """Write a file as an object: in one call up to 16 MiB, else part by part, four at once."""
        what, target = f"s3://{bucket}/{key}", {"Bucket": bucket, "Key": key}
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        given = {**target, **({"ContentType": content_type} if content_type else {})}
        size = (await anyio.Path(file).stat()).st_size
        try:
            if size <= self._upload_bytes:
                body = await anyio.Path(file).read_bytes()
                await self._call(what, "put_object", **given, **condition, Body=body)
            else:
                await self._upload(what, given, condition, functools.partial(self._send_parts, file, size))
        except ObjectChangedError as error:
            raise ObjectExistsError(f"{what} exists") from error

    async def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> AsyncGenerator[Listed, None]:
        """Yield the objects whose keys begin with a prefix, in the order of their keys, page by page."""
        wanted: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": self._page_keys}
        if start_after:
            wanted["StartAfter"] = start_after
        while True:
            page = await self._call(f"s3://{bucket}/{prefix}", "list_objects_v2", **wanted)
            for told in page.get("Contents", []):
                yield Listed(told["Key"], told["Size"], told["ETag"], told["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    async def copy(
        self, bucket: str, key: str, to_bucket: str, to_key: str, *, etag: str, if_absent: bool = False
    ) -> None:
        """Copy an object: in one call up to 5 GB, else part by part (which does not copy its tags)."""
        name = f"s3://{bucket}/{key}"
        head = await self._call(name, "head_object", Bucket=bucket, Key=key)
        if head["ETag"] != etag:
            raise ObjectChangedError(f"{name}: is not the object that was pinned")
        # Looked at first, since emulators know no such condition for a copy; S3 does, and so nothing comes in between.
        if if_absent and await self._exists(to_bucket, to_key):
            raise ObjectExistsError(f"s3://{to_bucket}/{to_key} exists")
        try:
            await self._copy(head, {"Bucket": bucket, "Key": key}, {"Bucket": to_bucket, "Key": to_key}, if_absent)
        except ObjectChangedError:
            # The same answer, whichever of the two conditions did not hold.
            if if_absent and await self._exists(to_bucket, to_key):
                raise ObjectExistsError(f"s3://{to_bucket}/{to_key} exists") from None
            raise

    async def _copy(
        self, head: Mapping[str, Any], original: Mapping[str, str], target: Mapping[str, str], if_absent: bool
    ) -> None:
        what = f"s3://{original['Bucket']}/{original['Key']} to s3://{target['Bucket']}/{target['Key']}"
        source = {"CopySource": original, "CopySourceIfMatch": head["ETag"]}
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        given = {field: head[field] for field in _CARRIED if head.get(field) is not None}
        given["Metadata"] = {**head.get("Metadata", {}), _COPY_OF: head["ETag"]}
        if head["ContentLength"] <= self._copy_bytes:
            given["MetadataDirective"] = "REPLACE"
            await self._call(what, "copy_object", **target, **source, **given, **condition)
            return
        copy_parts = functools.partial(self._copy_parts, source, head["ContentLength"])
        await self._upload(what, {**target, **given}, condition, copy_parts)

    async def _upload(
        self,
        what: str,
        given: Mapping[str, Any],
        condition: Mapping[str, str],
        send_parts: Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Mapping[str, Any]]]],
    ) -> None:
        """Write an object part by part; nothing of it is left if that fails."""
        started = await self._call(what, "create_multipart_upload", **given)
        upload = {"Bucket": given["Bucket"], "Key": given["Key"], "UploadId": started["UploadId"]}
        try:
            parts = {"Parts": await send_parts(what, upload)}
            await self._call(what, "complete_multipart_upload", **upload, **condition, MultipartUpload=parts)
        except BaseException:
            # What is left of an upload costs money each month; the error says more than this one would.
            with anyio.move_on_after(_ABORT_SECONDS, shield=True), contextlib.suppress(FanfoldError):
                await self._call(what, "abort_multipart_upload", **upload)
            raise

    async def _exists(self, bucket: str, key: str) -> bool:
        try:
            await self.head(bucket, key)
        except ObjectMissingError:
            return False
        return True

    async def _send_parts(
        self, file: Path, size_bytes: int, what: str, upload: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        length = max(self._upload_bytes, -(-size_bytes // aws_limits.S3_PARTS))
        etags: dict[int, str] = {}

        async def send_part(numbered: tuple[int, int]) -> None:
            number, start = numbered
            async with await anyio.open_file(file, "rb") as data:
                await data.seek(start)
                body = await data.read(length)
            part = await self._call(what, "upload_part", **upload, PartNumber=number, Body=body)
            etags[number] = part["ETag"]

        await for_each(send_part, enumerate(range(0, size_bytes, length), 1), concurrency=_UPLOADS_AT_ONCE)
        return [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]

    async def _copy_parts(
        self, source: Mapping[str, Any], size_bytes: int, what: str, upload: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        length = max(self._part_bytes, -(-size_bytes // aws_limits.S3_PARTS))
        etags: dict[int, str] = {}

        async def copy_part(numbered: tuple[int, int]) -> None:
            number, start = numbered
            place = f"bytes={start}-{min(start + length, size_bytes) - 1}"
            part = await self._call(
                what, "upload_part_copy", **upload, **source, PartNumber=number, CopySourceRange=place
            )
            etags[number] = part["CopyPartResult"]["ETag"]

        await for_each(copy_part, enumerate(range(0, size_bytes, length), 1), concurrency=_PARTS_AT_ONCE)
        return [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]

    async def delete_many(self, bucket: str, objects: Sequence[tuple[str, str | None]]) -> Mapping[int, FanfoldError]:
        """Delete 1 to 1,000 objects; return why, by position, for those not deleted."""
        alone = [position for position, (key, _) in enumerate(objects) if _NOT_IN_XML.search(key)]
        together = [position for position in range(len(objects)) if position not in alone]
        faults = await self._delete_together(bucket, {position: objects[position] for position in together})
        for position in alone:
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
                faults[position] = error
        return faults

    async def _delete_together(
        self, bucket: str, objects: Mapping[int, tuple[str, str | None]]
    ) -> dict[int, FanfoldError]:
        if not objects:
            return {}
        entries = [{"Key": key, "ETag": etag} if etag else {"Key": key} for key, etag in objects.values()]
        answer = await self._call(
            f"s3://{bucket}", "delete_objects", Bucket=bucket, Delete={"Objects": entries, "Quiet": True}
        )
        faults = {
            told["Key"]: fault_of(told["Code"], told.get("Message", ""), f"s3://{bucket}/{told['Key']}")
            for told in answer.get("Errors", [])
        }
        return {
            position: faults[key]
            for position, (key, _) in objects.items()
            if key in faults and not isinstance(faults[key], ObjectMissingError)
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
        """Yield what S3 Select's SQL gives for an object, as JSON Lines, event by event."""
        name = f"s3://{bucket}/{key}"
        try:
            answer = await self._call(
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
                f"{name}: there is no S3 Select here ({error.code}): AWS has closed it to new customers; use S3Lines"
            ) from error
        ended = False
        async with contextlib.aclosing(_events(name, answer["Payload"])) as events:
            async for event in events:
                if "Records" in event:
                    yield event["Records"]["Payload"]
                ended = ended or "End" in event
        if not ended:  # what came may not be all
            raise ServiceError(f"{name}: the answer of S3 Select broke off", code="NoEndEvent", transient=True)

    async def _call(self, what: str, operation: str, **arguments: Any) -> Any:
        with faults_of(what):
            return await getattr(self._client, operation)(**arguments)


async def _events(name: str, stream: Any) -> AsyncGenerator[Mapping[str, Any], None]:
    found = aiter(stream)
    try:
        while True:
            with faults_of(name):
                event = await anext(found, None)
            if event is None:
                return
            yield event
    finally:
        stream.close()
