"""Read a range of bytes of an S3 object; a reader resumes at the byte where its connection broke."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import anyio

from fanfold._base.retry import Retries, Sleep
from fanfold.aws.faults import map_errors
from fanfold.errors import ObjectChangedError, ServiceError

_CHUNK_BYTES: Final = 262_144
_WRONG_RANGE: Final = "WrongRange"


@dataclass(slots=True)
class ByteRange:
    """The part of an object that is still to be read."""

    bucket: str
    """The bucket."""
    key: str
    """The key of the object."""
    position: int
    """The next byte."""
    stop: int | None
    """One past the last byte; None for the end of the object."""
    etag: str | None
    """The required ETag; None for any, until the first response pins it."""
    first: Mapping[str, Any] | None = None
    """The first response; None before it, and for a range that starts after the end of the object."""

    @property
    def name(self) -> str:
        """The name of the object in errors."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def is_read(self) -> bool:
        """True if no byte is left."""
        return self.stop is not None and self.position >= self.stop

    def request(self) -> dict[str, Any]:
        """Return the arguments of the request for the bytes that are left."""
        options = {"IfMatch": self.etag} if self.etag else {}
        if self.position or self.stop is not None:
            options["Range"] = f"bytes={self.position}-{'' if self.stop is None else self.stop - 1}"
        return {"Bucket": self.bucket, "Key": self.key, **options}

    def accept(self, response: Mapping[str, Any]) -> None:
        """Take the ETag and the end of the range from the first response, and compare them with those of later ones.

        Raises:
            ObjectChangedError: If the response is from another version of the object.
            ServiceError: If the response does not begin at the next byte.
        """
        etag, length = response.get("ETag"), response.get("ContentLength")
        if self.first is None:
            self.first, self.etag = response, self.etag or etag
            self.stop = self.stop if length is None else self.position + length
            return
        if etag != self.etag:
            raise ObjectChangedError(f"{self.name}: has changed: its ETag is not the pinned one")
        if self.position and not str(response.get("ContentRange")).startswith(f"bytes {self.position}-"):
            message = f"{self.name}: the response does not begin at byte {self.position}"
            raise ServiceError(message, code=_WRONG_RANGE, transient=True)


async def read_range(client: Any, left: ByteRange, *, sleep: Sleep = anyio.sleep) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a range in chunks as they arrive. A range past the end yields the bytes up to the end.

    If a connection breaks, another request, conditional on the same ETag, continues at the byte that was reached. The
    read gives up after eight failures in a row without a byte in between.

    Args:
        client: The client.
        left: The range; updated as bytes arrive.
        sleep: Waits before another request.

    Raises:
        ObjectMissingError: If the object or the bucket does not exist.
        ObjectChangedError: If its ETag is not the required one, or is another one after the connection broke.
        ServiceError: If S3 does not respond, or the last attempt to resume fails.
    """
    retries = Retries(sleep=sleep)
    while True:
        try:
            async with aclosing(_chunks(client, left)) as chunks:
                async for chunk in chunks:
                    retries.reset()
                    yield chunk
        except ServiceError as error:
            if left.first is not None and left.is_read:
                return  # only the end of the connection failed
            # Without an ETag, the rest might be that of another version.
            can_resume = left.first and left.etag and error.transient and error.code != _WRONG_RANGE
            if not (can_resume and await retries.wait()):
                raise
        else:
            return


async def _chunks(client: Any, left: ByteRange) -> AsyncGenerator[bytes, None]:
    try:
        with map_errors(left.name):
            response = await client.get_object(**left.request())
    except ServiceError as error:
        if error.code == "InvalidRange" and left.first is None:
            return  # the range starts after the end of the object
        raise
    body = response["Body"]  # read from the body: __aenter__ of older aiobotocore releases returns another object
    async with body:
        left.accept(response)
        while True:
            with map_errors(left.name):
                chunk = await body.read(_CHUNK_BYTES)
            if not chunk:
                break
            left.position += len(chunk)
            yield chunk
    if left.stop is not None and left.position < left.stop:
        raise ServiceError(f"{left.name}: the response ended early", code="IncompleteRead", transient=True)
