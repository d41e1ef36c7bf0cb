"""A listing that resumes after transient errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fanfold._base.retry import resume
from fanfold._ports.stores import Listed, Store
from fanfold.errors import ObjectMissingError, SourceError


async def listing(store: Store, bucket: str, prefix: str) -> AsyncGenerator[Listed, None]:
    """Yield the objects with a key prefix; after a transient error, continue after the last listed key.

    Raises:
        SourceError: If the bucket does not exist.
    """
    last = ""
    try:
        async with aclosing(resume(lambda: store.list(bucket, prefix, start_after=last))) as listed_objects:
            async for listed in listed_objects:
                last = listed.key
                yield listed
    except ObjectMissingError as error:
        raise SourceError(f"s3://{bucket} does not exist: check the bucket") from error
