"""Large payloads: bodies that point to S3, in the format of the extended client libraries.

Receiving is a setting, ``@fanfold.consumer(large_payloads=True)``: the body is fetched before it is decoded. Sending::

    from fanfold.payloads import offload, open_store

    async with open_store() as store:
        message = await offload(text, store=store, bucket="payloads")

A payload stays in the bucket after its message was handled, since a message may come again: let a lifecycle rule of the
bucket delete it, later than the queue's retention. The body says which object is read: whoever may send to the queue
chooses it, among those the function may read.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fanfold._base.concurrency import for_each
from fanfold._ports.enqueue import enqueue
from fanfold._ports.payload_pointers import POINTERS, SIZE_ATTRIBUTES, OpenStore, Pointer, pointer_of
from fanfold._ports.queue import Message, Queue
from fanfold._ports.stores import Store
from fanfold.errors import ConfigurationError, MissingExtraError, ObjectMissingError

__all__ = ["OpenStore", "Pointer", "offload", "open_store", "pointer_of", "send"]

THRESHOLD_BYTES: Final = 262_144
"""Size over which a message is offloaded unless told otherwise; what the extended client libraries take, and what
older endpoints take at most."""
_SENT_TOGETHER: Final = 100
_UPLOADS_AT_ONCE: Final = 16


async def offload(
    body: str,
    *,
    store: Store,
    bucket: str,
    prefix: str = "",
    over_bytes: int = THRESHOLD_BYTES,
    attributes: Mapping[str, str] | None = None,
    legacy: bool = False,
) -> Message:
    """Return a message for a text: the text itself, or, if it is large, one that points to S3, where it was put.

    Args:
        body: The text.
        store: Where large ones go.
        bucket: The bucket there.
        prefix: What their keys begin with; the rest is made up and never used twice.
        over_bytes: Size of body and attributes over which a message is large, from 0; 262,144 by default.
        attributes: Text attributes sent with it; one less than ten, since a pointer needs one.
        legacy: Whether the pointer has the names of older libraries.

    Raises:
        ConfigurationError: If there is no such bucket.
        ServiceError: If the store failed.
    """
    message = Message(body, dict(attributes or {}))
    if message.size_bytes <= over_bytes:
        return message
    pointer = Pointer(bucket, f"{prefix}{uuid.uuid4()}")
    data = body.encode()
    try:
        await store.put(pointer.bucket, pointer.key, data)
    except ObjectMissingError as error:
        raise ConfigurationError(f"the bucket {bucket} for large payloads does not exist") from error
    pointing = json.dumps([POINTERS[legacy], {"s3BucketName": pointer.bucket, "s3Key": pointer.key}])
    return Message(pointing, {**message.attributes, SIZE_ATTRIBUTES[legacy]: str(len(data))})


async def send(queue: Queue, bodies: Iterable[str], *, store: Store, bucket: str, **options: Any) -> int:
    """Send texts of any size, drawn lazily, and return how many; ``options`` as for ``offload``.

    Raises:
        EnqueueError: If the queue did not accept a message after every attempt; ``rejected`` counts from the first
            of the hundred texts that were sent together.
        ConfigurationError, ServiceError: As ``offload`` does.
    """
    sent = 0
    together: list[str] = []
    for body in bodies:
        together.append(body)
        if len(together) == _SENT_TOGETHER:
            sent += await _send_together(queue, together, store, bucket, options)
            together = []
    return sent + await _send_together(queue, together, store, bucket, options)


async def _send_together(queue: Queue, bodies: Sequence[str], store: Store, bucket: str, options: Any) -> int:
    messages: dict[int, Message] = {}

    async def put(numbered: tuple[int, str]) -> None:
        position, body = numbered
        messages[position] = await offload(body, store=store, bucket=bucket, **options)

    await for_each(put, enumerate(bodies), concurrency=_UPLOADS_AT_ONCE)
    return await enqueue(queue, [messages[position] for position in range(len(bodies))])


def open_store() -> AbstractAsyncContextManager[Store]:
    """Return what opens a store on S3; credentials, region and endpoint are the SDK's usual ones.

    Raises:
        MissingExtraError: If the SDK is not installed.
        ConfigurationError: On entering, if there is no region.
    """
    try:
        from fanfold.aws.s3 import open_s3
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "large payloads") from error
    return open_s3()
