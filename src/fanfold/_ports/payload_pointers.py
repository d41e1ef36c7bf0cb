"""Bodies that point to S3, in the format of the extended client libraries, and what fetches their payloads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fanfold._base.outcome import Reject
from fanfold._base.record import Record
from fanfold.errors import DecodeError, ObjectMissingError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.stores import Store

OpenStore: TypeAlias = Callable[[], "AbstractAsyncContextManager[Store]"]
"""Makes the store that payloads are read from: entered at the first one, kept for the execution environment's life."""

SIZE_ATTRIBUTES: Final = ("ExtendedPayloadSize", "SQSLargePayloadSize")
"""Names of the attribute that says a body points to S3: of today's libraries, and of older ones."""
POINTERS: Final = (
    "software.amazon.payloadoffloading.PayloadS3Pointer",
    "com.amazon.sqs.javamessaging.MessageS3Pointer",
)
"""Names that stand first in such a body: of today's libraries, and of older ones."""

Resolve: TypeAlias = Callable[[Record], Awaitable[Record]]
"""Gives a record its payload in place of a pointer."""


class Pointer(NamedTuple):
    """Where a payload lies."""

    bucket: str
    """Its bucket."""
    key: str
    """Its key."""

    @property
    def url(self) -> str:
        """Its name for people."""
        return f"s3://{self.bucket}/{self.key}"


def pointer_of(record: Record) -> Pointer | None:
    """Return where the payload of a record lies; None for a record that holds it itself.

    Raises:
        DecodeError: If an attribute says that the body points to S3, and it does not.
    """
    if not any(name in record.message_attributes for name in SIZE_ATTRIBUTES):
        return None
    try:
        name, place = json.loads(record.body)
        bucket, key = place["s3BucketName"], place["s3Key"]
    except (ValueError, TypeError, KeyError, RecursionError):
        name = bucket = key = None
    if name in POINTERS and isinstance(bucket, str) and isinstance(key, str) and bucket and key:
        return Pointer(bucket, key)
    raise DecodeError("the message says that its payload lies in S3, but its body does not say where")


def resolver(store: Callable[[], Awaitable[Store]]) -> Resolve:
    """Return what gives a record its payload in place of a pointer.

    A payload that is missing is a permanent error, ``Reject``; one that cannot be read now, a throttle, is raised as it
    is and its message comes back.
    """

    async def resolve(record: Record) -> Record:
        pointer = pointer_of(record)
        return record if pointer is None else await _fetched(record, pointer, await store())

    return resolve


async def _fetched(record: Record, pointer: Pointer, store: Store) -> Record:
    try:
        async with aclosing(store.read(pointer.bucket, pointer.key)) as pieces:
            data = b"".join([piece async for piece in pieces])
    except ObjectMissingError as error:
        raise Reject(f"the payload {pointer.url} does not exist") from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the payload {pointer.url} is not UTF-8 text") from error
    return Record({**record.raw, "body": text})
