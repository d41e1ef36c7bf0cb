"""Bad rows of a run: each segment stores those that it has read, and the fold function merges them into one object.

The marker or the hop that records the end of a segment refers to its bad rows. So they count as its result does: once,
however often the segment is delivered.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import anyio

from fanfold._base.concurrency import for_each
from fanfold._base.retry import retry
from fanfold._folds.output_file import temporary_file
from fanfold._jobs.segment import Segment
from fanfold._ports.backend import Backend
from fanfold._ports.run import BadRows
from fanfold.errors import ObjectExistsError, SourceError
from fanfold.sources.bad_rows import BadRow

BAD_ROWS_FILE: Final = "bad-rows.jsonl"
"""Name of the object with all bad rows of a run, next to its output."""
SEGMENT_BYTES: Final = 8_000_000
"""Maximum size of the bad rows of one segment, as JSON Lines; they are kept in memory while the segment is read."""
_CONCURRENT_READS: Final = 16


class BadRowBuffer:
    """The bad rows of a segment that is being read."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._bytes = 0

    def add(self, row: BadRow) -> None:
        """Add a row.

        Raises:
            SourceError: If the bad rows exceed ``SEGMENT_BYTES``; permanent.
        """
        line = row.to_json()
        self._lines.append(line)
        self._bytes += len(line) + 1
        if self._bytes > SEGMENT_BYTES:
            raise SourceError(
                f"{row.object}: the bad rows of this segment exceed {SEGMENT_BYTES:,} bytes; the last one is near byte "
                f"{row.byte}: {row.reason}; if the source is declared as it is, use smaller segments, such as by "
                "chunk_bytes"
            )

    async def store(self, segment: Segment, backend: Backend) -> BadRows | None:
        """Write the rows to the results bucket; return None if there are none."""
        if not self._lines:
            return None
        # A unique name: another delivery of a segment that is continued may have read other rows.
        name = f"{segment.number}-{segment.hop}-{uuid.uuid4().hex}.jsonl"
        key = f"runs/{segment.run}/{segment.gen}/bad-rows/{name}"
        data = "".join(f"{line}\n" for line in self._lines).encode()
        await retry(partial(backend.put_result, key, data), sleep=backend.sleep)
        return BadRows(len(self._lines), key)


async def merge_bad_rows(key: str, stored: Sequence[BadRows], backend: Backend) -> None:
    """Write the bad rows of all segments into one object, in order; an object from an earlier attempt is kept."""
    path = temporary_file()
    try:
        async with await anyio.open_file(path, "wb") as file:
            async for data in contents_of(stored, backend):
                await file.write(data)
        with contextlib.suppress(ObjectExistsError):
            await backend.store.put_file(
                backend.results_bucket, key, path, content_type="application/jsonl", if_absent=True
            )
    finally:
        await anyio.Path(path).unlink()


async def contents_of(stored: Sequence[BadRows], backend: Backend) -> AsyncIterator[bytes]:
    """Yield the stored rows as JSON Lines, in order; a few objects are in memory at a time."""
    for first in range(0, len(stored), _CONCURRENT_READS):
        window = stored[first : first + _CONCURRENT_READS]
        contents: dict[str, bytes] = {}

        async def get(bad_rows: BadRows, contents: dict[str, bytes] = contents) -> None:
            contents[bad_rows.key] = await retry(partial(backend.get_result, bad_rows.key), sleep=backend.sleep)

        await for_each(get, window, concurrency=_CONCURRENT_READS)
        for bad_rows in window:
            yield contents[bad_rows.key]
