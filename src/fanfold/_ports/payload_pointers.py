"""Bodies that point to S3, in the format of the extended client libraries, and what fetches their payloads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from fanfold._base.ordering import leave_behind
from fanfold._base.outcome import Reject
from fanfold._base.record import Record
from fanfold.errors import DecodeError, ObjectMissingError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.stores import Store

__all__ = ["POINTERS", "SIZE_ATTRIBUTES", "OpenStore", "Pointer", "Resolve", "pointer_of", "resolver", "resolving"]

OpenStore: TypeAlias = Callable[[], "AbstractAsyncContextManager[Store]"]
"""Makes the store that payloads are read from: entered at the first one, kept for the sandbox's life."""

SIZE_ATTRIBUTES: Final = ("ExtendedPayloadSize", "SQSLargePayloadSize")
"""Names of the attribute that says a body points to S3: of today's libraries, and of older ones."""
POINTERS: Final = (
    "software.amazon.payloadoffloading.PayloadS3Pointer",
    "com.amazon.sqs.javamessaging.MessageS3Pointer",
)
"""Names that stand first in such a body: of today's libraries, and of older ones."""

_Call: TypeAlias = Callable[[Any], Awaitable[Any]]
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


def resolving(call: _Call, resolve: Resolve, *, chunked: bool) -> _Call:
    """Return a call that is given records with their payloads in place of pointers, and raises what resolving does."""

    async def one(record: Record) -> Any:
        return await call(await resolve(record))

    async def several(records: Sequence[Record]) -> list[Any]:
        values: list[Any] = [None] * len(records)
        found: dict[int, Record] = {}
        for position, record in enumerate(records):
            try:
                found[position] = await resolve(record)
            except Exception as error:  # noqa: BLE001 - of this record alone
                values[position] = error
        leave_behind(records, found, values)
        returned = await call(list(found.values())) if found else []
        for position, value in zip(found, returned, strict=True):
            values[position] = value
        return values

    return several if chunked else one


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
