"""Message bodies that point to S3, in the format of the extended client libraries, and the fetching of payloads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fanfold._base.outcome import Reject
from fanfold._base.record import Record
from fanfold.errors import DecodeError, ObjectMissingError

if TYPE_CHECKING:  # keep cold starts short
    from fanfold._ports.stores import Store

OpenStore: TypeAlias = Callable[[], "AbstractAsyncContextManager[Store]"]
"""Opens the store of payloads: at the first payload, and for the lifetime of the execution environment."""

SIZE_ATTRIBUTES: Final = ("ExtendedPayloadSize", "SQSLargePayloadSize")
"""Names of the attribute that marks a body as a pointer to S3: of current libraries, and of older ones."""
POINTERS: Final = (
    "software.amazon.payloadoffloading.PayloadS3Pointer",
    "com.amazon.sqs.javamessaging.MessageS3Pointer",
)
"""Names at the beginning of such a body: of current libraries, and of older ones."""

Resolve: TypeAlias = Callable[[Record], Awaitable[Record]]
"""Returns a record with its payload in place of a pointer."""


class Pointer(NamedTuple):
    """The location of a payload in S3."""

    bucket: str
    """Its bucket."""
    key: str
    """Its key."""

    @property
    def url(self) -> str:
        """The ``s3://`` URL of the payload."""
        return f"s3://{self.bucket}/{self.key}"


def pointer_of(record: Record) -> Pointer | None:
    """Return the location of the payload of a record; None if the body is the payload.

    Raises:
        DecodeError: If an attribute marks the body as a pointer, but it is not a valid one.
    """
    if not any(name in record.message_attributes for name in SIZE_ATTRIBUTES):
        return None
    try:
        name, location = json.loads(record.body)
        bucket, key = location["s3BucketName"], location["s3Key"]
    except (ValueError, TypeError, KeyError, RecursionError):
        name = bucket = key = None
    if name in POINTERS and isinstance(bucket, str) and isinstance(key, str) and bucket and key:
        return Pointer(bucket, key)
    raise DecodeError("an attribute marks the message as a pointer to S3, but its body is not a valid pointer")


def resolver(store: Callable[[], Awaitable[Store]]) -> Resolve:
    """Return a function that replaces the pointer of a record by its payload.

    A missing payload raises ``Reject``. A transient error is raised as is, so the message is redelivered.
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
