"""Manifests: the items of all segments of a run, written to S3 when the run is planned.

Manifests are for sources that cannot be cut by arithmetic. The items are written as JSON Lines to objects under the
run's prefix in the results bucket, many segments per object, so the plan of millions of items stays small and every cut
is the same. Such an object, a *chunk*, begins with a table of the byte offsets at which its segments start, and of the
end of the last one. An offset has twelve bytes: eleven digits and a newline.

A manifest that is planned in several steps has chunks with a prefix of each step: of the first one in ``manifest`` and
``chunks`` of the plan, of the later ones in ``more``.
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
from fanfold.sources.planning import Planned, Step

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
    writer = _Writer(backend, Step(prefix), chunk_bytes)
    async for lines in segments:
        await writer.add(Planned(lines))
    return await writer.close(complete=True)


async def extend(
    backend: Backend,
    step: Step,
    planned: AsyncGenerator[Planned, None],
    **fields: Any,
) -> dict[str, Any]:
    """Write what one step plans; return the plan, with the field ``unfinished`` if the step had to stop.

    Whenever a chunk is written, the plan is saved, so that the step can be repeated from there.

    Args:
        backend: The backend with the results bucket.
        step: The step.
        planned: What the source plans, from after ``step.after``. When the step must stop, nothing after the next place
            to resume is used.
        fields: Other fields of the plan, such as ``type``.
    """
    writer = _Writer(backend, step, CHUNK_BYTES, **fields)
    async with aclosing(planned):
        async for one in planned:
            await writer.add(one)
            if one.after is not None and step.must_stop():
                return await writer.close(complete=False)
    return await writer.close(complete=True)


class _Writer:
    """Writes the segments of one step as chunks, one of which is in memory."""

    def __init__(self, backend: Backend, step: Step, chunk_bytes: int, **fields: Any) -> None:
        self._backend = backend
        self._step = step
        self._chunk_bytes = chunk_bytes
        self._fields: dict[str, Any] = {**fields, **step.begun}
        self._after: str | None = None
        self._counts: list[int] = []
        self._items: int = step.begun.get("items", 0)
        self._segments: list[bytes] = []
        self._bytes = 0

    async def add(self, planned: Planned) -> None:
        """Add a segment; if the current chunk is full, write it before, and save the plan."""
        if planned.lines:
            segment = b"".join(line + b"\n" for line in planned.lines)
            if self._segments and self._bytes + len(segment) > self._chunk_bytes:
                await self._put_chunk()
                if self._step.save is not None and self._after is not None:
                    await self._step.save(self._plan(self._after))
            self._segments.append(segment)
            self._bytes += len(segment)
            self._items += len(planned.lines)
        self._after = planned.after
        self._fields.update(planned.fields)

    async def close(self, *, complete: bool) -> dict[str, Any]:
        """Write the last chunk and return the plan."""
        if self._segments:
            await self._put_chunk()
        return self._plan(None if complete else self._after)

    async def _put_chunk(self) -> None:
        key = _key(self._step.prefix, len(self._counts))
        await retry(partial(self._backend.put_result, key, chunk_of(self._segments)))
        self._counts.append(len(self._segments))
        self._segments, self._bytes = [], 0

    def _plan(self, after: str | None) -> dict[str, Any]:
        """Return the plan of what is written; ``after`` is None if it is complete."""
        plan = {name: value for name, value in self._fields.items() if name != "unfinished"}
        if not self._step.begun:
            plan |= {"manifest": self._step.prefix, "chunks": list(self._counts)}
        elif self._counts:
            plan["more"] = [*plan.get("more", []), [self._step.prefix, list(self._counts)]]
        return plan | {"items": self._items} | ({} if after is None else {"unfinished": {"after": after}})


def chunk_of(segments: Sequence[bytes]) -> bytes:
    """Return a chunk: the table of offsets, then the segments."""
    offsets = accumulate(map(len, segments), initial=_OFFSET_BYTES * (len(segments) + 1))
    return b"".join([*(b"%011d\n" % offset for offset in offsets), *segments])


def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the location of each segment's items, from segment number ``first``."""
    for prefix, counts in [(plan["manifest"], plan["chunks"]), *plan.get("more", [])]:
        for chunk, count in enumerate(counts):
            for place in range(first, count):
                yield {"manifest": prefix, "chunk": chunk, "place": place}
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
