"""Lists of objects that other services write: one ``s3://`` address per line."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fanfold._ports.stores import Store
from fanfold.errors import SourceError
from fanfold.sources.object_reads import lines_in, name_of, read_range

_FIX = "specify the key of a list of addresses, or of the manifest.json of an inventory"
_SCHEMES = ("s3://", "s3a://", "s3n://")


async def uris_in(store: Store, bucket: str, key: str) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the bucket and the key of each address in an object; blank lines are skipped.

    Athena writes such an object for UNLOAD, CREATE TABLE AS, and INSERT INTO, and S3 Inventory as ``symlink.txt``.

    Raises:
        SourceError: If the object is missing, or a line is not an address; names the line.
    """
    name, number = name_of(bucket, key), 0
    pieces = read_range(store, bucket, key)
    async with aclosing(pieces), aclosing(lines_in(pieces, name)) as chunks:
        async for lines in chunks:
            for line in lines:
                number += 1
                if line.strip():
                    yield _address(line, f"{name}, line {number}")


def _address(line: bytes, place: str) -> tuple[str, str]:
    try:
        text = line.decode().strip().strip('"')
    except UnicodeDecodeError as error:
        raise SourceError(f"{place} is not UTF-8: {error.reason}; {_FIX}") from error
    scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), None)
    bucket, _, key = text.removeprefix(scheme or "").partition("/")
    if scheme is None or not bucket or not key:
        what = "the address of an object, such as s3://bucket/key"
        raise SourceError(f"{place} is not {what}, but {text[:80]!r}; {_FIX}")
    return bucket, key
