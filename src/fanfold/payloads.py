"""Large payloads: message bodies that point to S3, in the format of the SQS extended client libraries.

To receive them, set ``@fanfold.consumer(large_payloads=True)``: the payload is fetched before it is decoded. To send
them::

    from fanfold.payloads import offload, open_store

    async with open_store() as store:
        message = await offload(text, store=store, bucket="payloads")

A payload stays in the bucket after its message was processed, because the message may be redelivered. Delete payloads
with a lifecycle rule of the bucket, after the retention period of the queue.

The body determines which object is read: anyone who may send to the queue can choose any object that the function may
read. Restrict the function's role, and the consumer::

    @fanfold.consumer(large_payloads=LargePayloads(buckets=("payloads",), max_bytes=50_000_000))
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fanfold._base.concurrency import for_each
from fanfold._ports.enqueue import enqueue
from fanfold._ports.payload_pointers import POINTERS, SIZE_ATTRIBUTES, LargePayloads, OpenStore, Pointer, pointer_of
from fanfold._ports.queue import Message, Queue
from fanfold._ports.stores import Store
from fanfold.errors import ConfigurationError, MissingExtraError, ObjectMissingError

__all__ = ["LargePayloads", "OpenStore", "Pointer", "offload", "open_store", "pointer_of", "send"]

THRESHOLD_BYTES: Final = 262_144
"""Default size above which a message is offloaded: the default of the extended client libraries, and the limit of older
endpoints."""
_MESSAGES_PER_CALL: Final = 100
_CONCURRENT_UPLOADS: Final = 16


async def offload(
    body: str,
    *,
    store: Store,
    bucket: str,
    prefix: str = "",
    threshold_bytes: int = THRESHOLD_BYTES,
    attributes: Mapping[str, str] | None = None,
    legacy: bool = False,
) -> Message:
    """Return a message with a body, or, if the body is large, upload it to S3 and return a message that points to it.

    Args:
        body: The body.
        store: The store for large payloads.
        bucket: The bucket for large payloads.
        prefix: Beginning of their keys; the rest is a unique id.
        threshold_bytes: Size of body and attributes above which the body is offloaded, from 0; 262,144 by default.
        attributes: Text attributes of the message; at most nine, because a pointer needs one.
        legacy: Whether the pointer has the names of older libraries.

    Raises:
        ConfigurationError: If the bucket does not exist.
        ServiceError: If the store failed.
    """
    message = Message(body, dict(attributes or {}))
    if message.size_bytes <= threshold_bytes:
        return message
    pointer = Pointer(bucket, f"{prefix}{uuid.uuid4()}")
    data = body.encode()
    try:
        await store.put(pointer.bucket, pointer.key, data)
    except ObjectMissingError as error:
        raise ConfigurationError(f"bucket {bucket} for large payloads does not exist") from error
    pointer_body = json.dumps([POINTERS[legacy], {"s3BucketName": pointer.bucket, "s3Key": pointer.key}])
    return Message(pointer_body, {**message.attributes, SIZE_ATTRIBUTES[legacy]: str(len(data))})


async def send(queue: Queue, bodies: Iterable[str], *, store: Store, bucket: str, **options: Any) -> int:
    """Send bodies of any size, read lazily, and return their number; ``options`` as for ``offload``.

    Raises:
        EnqueueError: If the queue did not accept a message after all retries; positions in ``rejected`` count from the
            first body of the current hundred.
        ConfigurationError, ServiceError: As for ``offload``.
    """
    sent = 0
    chunk: list[str] = []
    for body in bodies:
        chunk.append(body)
        if len(chunk) == _MESSAGES_PER_CALL:
            sent += await _send_chunk(queue, chunk, store, bucket, options)
            chunk = []
    return sent + await _send_chunk(queue, chunk, store, bucket, options)


async def _send_chunk(queue: Queue, bodies: Sequence[str], store: Store, bucket: str, options: Any) -> int:
    messages: dict[int, Message] = {}

    async def put(numbered: tuple[int, str]) -> None:
        position, body = numbered
        messages[position] = await offload(body, store=store, bucket=bucket, **options)

    await for_each(put, enumerate(bodies), concurrency=_CONCURRENT_UPLOADS)
    return await enqueue(queue, [messages[position] for position in range(len(bodies))])


def open_store() -> AbstractAsyncContextManager[Store]:
    """Return a context manager that opens S3 as a store, with the SDK's default credentials, region, and endpoint.

    Raises:
        MissingExtraError: If the SDK is not installed.
        ConfigurationError: On entering, if no region is configured.
    """
    try:
        from fanfold.aws.s3 import open_s3
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "large payloads") from error
    return open_s3()
