"""An object store on S3."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from fanfold.aws.faults import faults_of
from fanfold.errors import ObjectChangedError, ObjectExistsError, ServiceError
from fanfold.protocols import ObjectInfo

__all__ = ["S3Store"]

_PIECE_BYTES: Final = 262_144


class S3Store:
    """S3, over an aiobotocore client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return what is known of an object."""
        with faults_of(f"s3://{bucket}/{key}"):
            answer = await self._client.head_object(Bucket=bucket, Key=key)
        return ObjectInfo(answer["ContentLength"], answer["ETag"])

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
        async with answer["Body"] as body:
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
