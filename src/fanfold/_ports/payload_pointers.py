"""Message bodies that point to S3, in the format of the extended client libraries, and the fetching of payloads."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from fanfold._base.frozen import Value, put
from fanfold._base.outcome import Reject
from fanfold._base.record import Record
from fanfold.errors import ConfigurationError, DecodeError, ObjectMissingError, ServiceError

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

DEFAULT_MAX_BYTES: Final = 268_435_456
"""Default limit of a payload where memory does not require a lower one: 256 MiB, the content of 256 SQS messages."""
MEMORY_SHARE: Final = 0.25
"""Share of the memory that a payload may have by default. It is in memory as bytes and as text, and then as the decoded
body, so a larger one would have the function killed, and all records of the batch redelivered."""

_BUCKET_NAME: Final = re.compile(r"[A-Za-z0-9._-]{3,255}")
"""Names that buckets have: of 3 to 63 lowercase letters, digits, dots and hyphens; those created in us-east-1 before
March 2018 may have 255 characters, uppercase letters and underscores. S3 has further rules, which depend on the age
of a bucket. (Source: S3 user guide, "General purpose bucket naming rules".)"""
_BUCKET_ARN: Final = re.compile(r"arn:aws[a-z-]*:s3[a-z-]*:[a-z0-9-]*:\d{12}:[A-Za-z0-9:/.-]{1,200}")
"""ARNs of access points, which S3 accepts in place of a bucket."""
_KEY_BYTES: Final = 1_024
"""Maximum size of a key. (Source: S3 user guide, "Naming Amazon S3 objects".)"""
_REFUSED_NAME: Final = frozenset({"InvalidBucketName", "InvalidURI", "KeyTooLongError", "ParamValidationError"})
"""Error codes of S3 and its SDK for a bucket or a key that cannot exist."""
_SIZE_DIGITS: Final = 15
_SHOWN_CHARACTERS: Final = 40

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

    def __str__(self) -> str:
        return self.url if self.url.isprintable() else ascii(self.url)  # one line in a log


class LargePayloads(Value):
    """How payloads are fetched from S3, for the setting ``large_payloads`` of a consumer. Immutable.

    The sender of a message chooses the object that is read, and states its size. A message is rejected if its object is
    in another bucket, is larger than the limit, or does not have the stated size; no more bytes than that are read.

    Raises:
        ConfigurationError: If an argument is invalid.
    """

    __slots__ = ("buckets", "max_bytes", "open_store")

    buckets: tuple[str, ...] | None
    """Buckets that may be read; None for every bucket that the function may read."""
    max_bytes: int | None
    """Maximum size of a payload; None for 256 MiB, but at most a quarter of the function's memory."""
    open_store: OpenStore | None
    """Opens another store, such as one for tests; None for S3."""

    def __init__(
        self,
        buckets: Collection[str] | None = None,
        max_bytes: int | None = None,
        open_store: OpenStore | None = None,
    ) -> None:
        if buckets is not None and (
            isinstance(buckets, str)
            or not isinstance(buckets, Collection)
            or not buckets
            or not all(isinstance(name, str) and is_bucket_name(name) for name in buckets)
        ):
            raise ConfigurationError(
                f"LargePayloads: buckets must be a tuple of names of S3 buckets, such as ('payloads',), or None, not "
                f"{buckets!r}"
            )
        if max_bytes is not None and (not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1):
            raise ConfigurationError(
                f"LargePayloads: max_bytes must be an integer of at least 1, or None, not {max_bytes!r}"
            )
        if open_store is not None and not callable(open_store):
            raise ConfigurationError(
                f"LargePayloads: open_store must be a function that opens a store, or None, not {open_store!r}"
            )
        put(self, "buckets", None if buckets is None else tuple(buckets))
        put(self, "max_bytes", max_bytes)
        put(self, "open_store", open_store)

    def limit(self, memory_bytes: float | None) -> int:
        """Return the maximum size of a payload.

        Args:
            memory_bytes: Memory of the function; None if it is unknown.
        """
        if self.max_bytes is not None:
            return self.max_bytes
        return DEFAULT_MAX_BYTES if memory_bytes is None else min(DEFAULT_MAX_BYTES, int(memory_bytes * MEMORY_SHARE))

    def check(self, pointer: Pointer) -> None:
        """Check that the bucket of a pointer may be read.

        Raises:
            DecodeError: If it may not.
        """
        if self.buckets is not None and pointer.bucket not in self.buckets:
            raise DecodeError(
                f"the payload {pointer} is in a bucket that is not allowed; LargePayloads allows "
                f"{', '.join(self.buckets)}"
            )


def large_payloads_of(setting: bool | OpenStore | LargePayloads) -> LargePayloads | None:
    """Return the value of a ``large_payloads`` setting, whatever its form; None if payloads are not fetched."""
    if isinstance(setting, LargePayloads):
        return setting
    if isinstance(setting, bool):
        return LargePayloads() if setting else None
    return LargePayloads(open_store=setting)


def is_bucket_name(name: str) -> bool:
    """Return whether S3 could have a bucket or an access point of this name."""
    return bool(_BUCKET_NAME.fullmatch(name) or _BUCKET_ARN.fullmatch(name))


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
    if name not in POINTERS or not isinstance(bucket, str) or not isinstance(key, str) or not bucket or not key:
        raise DecodeError("an attribute marks the message as a pointer to S3, but its body is not a valid pointer")
    if not is_bucket_name(bucket):
        raise DecodeError(f"the message points to S3, but {_shown(bucket)} is not a valid name for a bucket")
    if not _is_key(key):
        raise DecodeError(
            f"the message points to S3, but {_shown(key)} is not a valid key: a key is UTF-8 text of up to "
            f"{_KEY_BYTES:,} bytes"
        )
    return Pointer(bucket, key)


def resolver(store: Callable[[], Awaitable[Store]], payloads: LargePayloads, max_bytes: int) -> Resolve:
    """Return a function that replaces the pointer of a record by its payload.

    A missing payload raises ``Reject``. A transient error is raised as is, so the message is redelivered.

    Args:
        store: Returns the store of the payloads.
        payloads: Which buckets may be read.
        max_bytes: Maximum size of a payload.
    """

    async def resolve(record: Record) -> Record:
        pointer = pointer_of(record)
        if pointer is None:
            return record
        payloads.check(pointer)
        size_bytes = _stated_size(record)
        if size_bytes > max_bytes:
            raise DecodeError(
                f"the payload {pointer} is too large: its message states {size_bytes:,} bytes, and the limit is "
                f"{max_bytes:,}"
            )
        data = await _read(pointer, size_bytes, await store())
        if not size_bytes - _attribute_bytes(record) <= len(data) <= size_bytes:
            more = "more than " if len(data) > size_bytes else f"{len(data):,}, and not "
            raise DecodeError(f"the payload {pointer} has {more}the {size_bytes:,} bytes that its message states")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"the payload {pointer} is not UTF-8 text") from error
        return Record({**record.raw, "body": text})

    return resolve


async def _read(pointer: Pointer, size_bytes: int, store: Store) -> bytes:
    """Return a payload; if it is larger than stated, its first bytes: one more than stated, or a chunk more."""
    pieces, received = [], 0
    try:
        async with aclosing(store.read(pointer.bucket, pointer.key, stop=size_bytes + 1)) as stream:
            async for piece in stream:
                pieces.append(piece)
                received += len(piece)
                if received > size_bytes:
                    break
    except ObjectMissingError as error:
        raise Reject(f"the payload {pointer} does not exist") from error
    except ServiceError as error:
        if error.code in _REFUSED_NAME:
            raise DecodeError(f"S3 refuses the location of the payload {pointer}: {error.code}") from error
        raise
    return b"".join(pieces)


def _stated_size(record: Record) -> int:
    for name in SIZE_ATTRIBUTES:
        attribute = record.message_attributes.get(name)
        text = attribute.get("stringValue") if isinstance(attribute, dict) else None
        if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _SIZE_DIGITS:
            return int(text)
    raise DecodeError("the message points to S3, but the attribute with the size of its payload is not a number")


def _attribute_bytes(record: Record) -> int:
    """Return the size of the other attributes: some client libraries add it to the size of the payload."""
    others = {name: value for name, value in record.message_attributes.items() if name not in SIZE_ATTRIBUTES}
    return sum(_bytes(name) + sum(map(_bytes, _values(value))) for name, value in others.items())


def _values(attribute: Any) -> Collection[object]:
    return [value for value in attribute.values() if value] if isinstance(attribute, dict) else [attribute]


def _bytes(value: object) -> int:
    return len(str(value).encode(errors="replace"))


def _is_key(key: str) -> bool:
    try:
        return len(key.encode()) <= _KEY_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _shown(name: str) -> str:
    return ascii(name) if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]!a}..."
