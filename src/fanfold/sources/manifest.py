"""Manifests: the items of all segments of a run, written to S3 when the run is planned.

Manifests are for sources that cannot be cut by arithmetic. The items are written as JSON Lines to objects under the
run's prefix in the results bucket, many segments per object, so the plan of millions of items stays small and every cut
is the same. Such an object, a *chunk*, begins with a table of the byte offsets at which its segments start, and of the
end of the last one. An offset has twelve bytes: eleven digits and a newline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import accumulate
from typing import Any, Final

from fanfold._base.retry import retry
from fanfold._ports.backend import Backend
from fanfold.errors import ObjectMissingError, SourceError
from fanfold.sources.lines import lines_of_range

CHUNK_BYTES: Final = 4_000_000
"""Size at which a chunk is full, unless its first segment alone is larger; planning keeps one chunk in memory."""
_OFFSET_BYTES: Final = 12


async def write(
    backend: Backend, prefix: str, segments: AsyncIterator[Sequence[bytes]], *, chunk_bytes: int = CHUNK_BYTES
) -> dict[str, Any]:
    """Write the items of each segment; return the description of the manifest for the plan.

    Args:
        backend: The backend with the results bucket.
        prefix: Beginning of the keys of the chunks; must be unique to this manifest.
        segments: The items of each segment, each item as JSON on one line.
        chunk_bytes: As ``CHUNK_BYTES``.
    """
    counts: list[int] = []
    items = 0
    pending: list[bytes] = []
    pending_bytes = 0

    async def put_chunk() -> None:
        data = chunk_of(pending)
        await retry(partial(backend.put_result, _key(prefix, len(counts)), data))
        counts.append(len(pending))

    async for lines in segments:
        segment = b"".join(line + b"\n" for line in lines)
        if pending and pending_bytes + len(segment) > chunk_bytes:
            await put_chunk()
            pending, pending_bytes = [], 0
        pending.append(segment)
        pending_bytes += len(segment)
        items += len(lines)
    if pending:
        await put_chunk()
    return {"manifest": prefix, "chunks": counts, "items": items}


def chunk_of(segments: Sequence[bytes]) -> bytes:
    """Return a chunk: the table of offsets, then the segments."""
    offsets = accumulate(map(len, segments), initial=_OFFSET_BYTES * (len(segments) + 1))
    return b"".join([*(b"%011d\n" % offset for offset in offsets), *segments])


def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the location of each segment's items, from segment number ``first``."""
    for chunk, count in enumerate(plan["chunks"]):
        for place in range(first, count):
            yield {"manifest": plan["manifest"], "chunk": chunk, "place": place}
        first = max(0, first - count)


async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[bytes, int]], None]:
    """Yield the lines of one segment, several at a time; the mark of a line is the number of lines so far.

    The first ``skip`` lines of a part are counted, but not yielded.

    Raises:
        SourceError: If the chunk no longer exists.
    """
    pieces = partial(_pieces, backend, _key(part["manifest"], part["chunk"]))
    begin = part["place"] * _OFFSET_BYTES
    table = b"".join([piece async for piece in pieces(begin, begin + 2 * _OFFSET_BYTES)])
    start, stop = map(int, table.split())
    chunks = lines_of_range(pieces, start=start, stop=stop, begin=start, size_bytes=stop)
    skip, count = part.get("skip", 0), 0
    async with aclosing(chunks):
        async for _, lines in chunks:
            yield [(line, count + n) for n, line in enumerate(lines, 1) if count + n > skip]
            count += len(lines)


def rest(part: Mapping[str, Any], mark: int) -> dict[str, Any]:
    """Return the same segment without the first ``mark`` lines, which are read again but not yielded."""
    return {**part, "skip": mark}


async def _pieces(backend: Backend, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    bucket = backend.results_bucket
    try:
        async with aclosing(backend.store.read(bucket, key, start=start, stop=stop)) as pieces:
            async for piece in pieces:
                yield piece
    except ObjectMissingError as error:
        raise SourceError(
            f"s3://{bucket}/{key}, which contains the items of this segment, no longer exists: start a new run"
        ) from error


def _key(prefix: str, chunk: int) -> str:
    return f"{prefix}/{chunk:06d}"
