"""A manifest: what the segments of a run read, written down when the run is planned.

For sources that cannot be cut by arithmetic: the items are written as JSON Lines to objects under the run's prefix in
the results bucket, many segments to an object, so that a plan of millions of items stays small and each cut of it is
the same. A chunk, which is one such object, begins with a table of where each of its segments begins, and where the
last one ends: twelve bytes each, eleven digits and a newline, counted from the object's first byte.
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
"""A chunk is full when it holds as much, or its first segment does: what planning holds in memory."""
_PLACE_BYTES: Final = 12


async def write(
    backend: Backend, prefix: str, segments: AsyncIterator[Sequence[bytes]], *, chunk_bytes: int = CHUNK_BYTES
) -> dict[str, Any]:
    """Write the items of each segment down, as they come; return what a plan says of them.

    Args:
        backend: Whose results bucket is written to.
        prefix: Beginning of the chunks' keys; no other manifest may have the same.
        segments: The items of one segment after the other, each item as JSON on one line.
        chunk_bytes: As ``CHUNK_BYTES``.
    """
    counts: list[int] = []
    items = 0
    waiting: list[bytes] = []
    waiting_bytes = 0

    async def put_chunk() -> None:
        data = chunk_of(waiting)
        await retry(partial(backend.put_result, _key(prefix, len(counts)), data))
        counts.append(len(waiting))

    async for lines in segments:
        segment = b"".join(line + b"\n" for line in lines)
        if waiting and waiting_bytes + len(segment) > chunk_bytes:
            await put_chunk()
            waiting, waiting_bytes = [], 0
        waiting.append(segment)
        waiting_bytes += len(segment)
        items += len(lines)
    if waiting:
        await put_chunk()
    return {"manifest": prefix, "chunks": counts, "items": items}


def chunk_of(segments: Sequence[bytes]) -> bytes:
    """Return a chunk: the table of its segments, then the segments."""
    places = accumulate(map(len, segments), initial=_PLACE_BYTES * (len(segments) + 1))
    return b"".join([*(b"%011d\n" % place for place in places), *segments])


def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield where each segment's items are written, from segment number ``first`` on."""
    for chunk, count in enumerate(plan["chunks"]):
        for place in range(first, count):
            yield {"manifest": plan["manifest"], "chunk": chunk, "place": place}
        first = max(0, first - count)


async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[bytes, int]], None]:
    """Yield the lines of one segment, several at a time, each with how many there have been.

    Those up to ``skip`` of a part are counted and left out.

    Raises:
        SourceError: If the chunk is gone.
    """
    pieces = partial(_pieces, backend, _key(part["manifest"], part["chunk"]))
    begin = part["place"] * _PLACE_BYTES
    table = b"".join([piece async for piece in pieces(begin, begin + 2 * _PLACE_BYTES)])
    start, stop = map(int, table.split())
    found = lines_of_range(pieces, start=start, stop=stop, begin=start, size_bytes=stop)
    skip, taken = part.get("skip", 0), 0
    async with aclosing(found):
        async for _, lines in found:
            yield [(line, taken + n) for n, line in enumerate(lines, 1) if taken + n > skip]
            taken += len(lines)


def rest(part: Mapping[str, Any], mark: int) -> dict[str, Any]:
    """Return the same segment from after so many lines on; they are read again, and left out."""
    return {**part, "skip": mark}


async def _pieces(backend: Backend, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    bucket = backend.results_bucket
    try:
        async with aclosing(backend.store.read(bucket, key, start=start, stop=stop)) as pieces:
            async for piece in pieces:
                yield piece
    except ObjectMissingError as error:
        raise SourceError(
            f"s3://{bucket}/{key}, which holds what this segment reads, is gone: start a new run"
        ) from error


def _key(prefix: str, chunk: int) -> str:
    return f"{prefix}/{chunk:06d}"
