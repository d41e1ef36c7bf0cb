"""A listing of S3 objects, some keys to a segment."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from fanfold._base.retry import resume
from fanfold._ports.backend import Backend
from fanfold._ports.stores import Listed, Store
from fanfold.errors import ConfigurationError, ObjectMissingError, SourceError
from fanfold.sources import manifest

MOST_KEYS: Final = 100_000
"""Keys of one segment: what planning holds in memory, about 25 MB."""


class S3Objects:
    """The objects of a bucket, as one listing gave them: each key once, in the order of keys.

    The listing is made when the run is planned and written down under the run's prefix, so that segments are the same
    however often they are cut, and millions of keys are never held. An object that comes, goes or is replaced later
    does not show.

    Items are dicts: ``key``; ``size``, in bytes; ``etag``, in quotes, as S3 compares it; ``last_modified``, as ISO 8601
    in UTC. No objects that meet the conditions are no segments, and no error.

    Args:
        bucket: The bucket.
        prefix: Beginning of the keys; what is listed. All other conditions are looked at for each key listed.
        suffix: End of the keys.
        pattern: What the whole key is like, as in a shell, where ``*`` is any characters, ``/`` too, capitals count;
            or a compiled regular expression that is found in the key.
        min_bytes: Least size.
        max_bytes: Greatest size.
        modified_after: Only what was last modified then or later; with a time zone.
        modified_before: Only what was last modified earlier; with a time zone.
        keys_per_segment: Most keys in a segment, from 1 to 100,000.
        bytes_per_segment: Most bytes of objects in a segment, except that it holds at least one; None for any.

    Raises:
        ConfigurationError: If a setting is impossible.
    """

    def __init__(  # noqa: PLR0913 - each is one condition, all are keywords
        self,
        bucket: str,
        *,
        prefix: str = "",
        suffix: str = "",
        pattern: str | re.Pattern[str] | None = None,
        min_bytes: int | None = None,
        max_bytes: int | None = None,
        modified_after: datetime | None = None,
        modified_before: datetime | None = None,
        keys_per_segment: int = 1_000,
        bytes_per_segment: int | None = None,
    ) -> None:
        if not isinstance(bucket, str) or not bucket:
            raise ConfigurationError(f"S3Objects: bucket must be a name, not {bucket!r}")
        for name, text in (("prefix", prefix), ("suffix", suffix)):
            if not isinstance(text, str):
                raise ConfigurationError(f"S3Objects: {name} must be a text, not {text!r}")
        if not isinstance(pattern, str | re.Pattern | None):
            raise ConfigurationError(f"S3Objects: pattern must be a text or a compiled expression, not {pattern!r}")
        self.bucket: str = bucket
        self.prefix: str = prefix
        self.suffix: str = suffix
        self.pattern: str | re.Pattern[str] | None = pattern
        self.min_bytes: int | None = _size("min_bytes", min_bytes, least=0)
        self.max_bytes: int | None = _size("max_bytes", max_bytes, least=self.min_bytes or 0)
        self.modified_after: datetime | None = _moment("modified_after", modified_after)
        self.modified_before: datetime | None = _moment("modified_before", modified_before)
        if type(keys_per_segment) is not int or not 1 <= keys_per_segment <= MOST_KEYS:
            raise ConfigurationError(
                f"S3Objects: keys_per_segment must be a whole number from 1 to {MOST_KEYS:,}, not {keys_per_segment!r}"
            )
        self.keys_per_segment: int = keys_per_segment
        self.bytes_per_segment: int | None = _size("bytes_per_segment", bytes_per_segment, least=1)

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """List the bucket, and write down what meets the conditions; return the plan.

        Raises:
            SourceError: If there is no such bucket.
        """
        written = await manifest.write(backend, prefix, self._segments(backend.store))
        return {"type": "s3-objects", **written}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield where the keys of each segment are written, from segment number ``first`` on."""
        for part in manifest.cut(plan, first):
            yield {"type": "s3-objects", **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:
        """Yield the objects of one segment, as they were listed, each with how many lines there have been.

        Raises:
            SourceError: If what was written down is gone.
        """
        async with aclosing(manifest.read(part, backend)) as found:
            async for lines in found:
                yield ((json.loads(line), taken) for line, taken in lines)

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same segment from after so many lines on."""
        return manifest.rest(part, mark)

    async def _segments(self, store: Store) -> AsyncIterator[Sequence[bytes]]:
        wanted = self._condition()
        lines: list[bytes] = []
        taken = 0
        async with aclosing(_listing(store, self.bucket, self.prefix)) as listing:
            async for each in listing:
                if not wanted(each):
                    continue
                full = self.bytes_per_segment is not None and taken + each.size_bytes > self.bytes_per_segment
                if lines and (full or len(lines) == self.keys_per_segment):
                    yield lines
                    lines, taken = [], 0
                lines.append(_line(each))
                taken += each.size_bytes
        if lines:
            yield lines

    def _condition(self) -> Callable[[Listed], bool]:
        least, most = self.min_bytes or 0, self.max_bytes
        after = self.modified_after.timestamp() if self.modified_after else None
        before = self.modified_before.timestamp() if self.modified_before else None
        found = self.pattern.search if isinstance(self.pattern, re.Pattern) else None
        if isinstance(self.pattern, str):
            found = re.compile(fnmatch.translate(self.pattern)).match

        def holds(each: Listed) -> bool:
            return (
                each.key.endswith(self.suffix)
                and each.size_bytes >= least
                and (most is None or each.size_bytes <= most)
                and (after is None or each.last_modified >= after)
                and (before is None or each.last_modified < before)
                and (found is None or found(each.key) is not None)
            )

        return holds


async def _listing(store: Store, bucket: str, prefix: str) -> AsyncGenerator[Listed, None]:
    """Yield a listing; a fault that may pass costs nothing of what has been listed."""
    last = ""
    try:
        async with aclosing(resume(lambda: store.list(bucket, prefix, start_after=last))) as listing:
            async for each in listing:
                last = each.key
                yield each
    except ObjectMissingError as error:
        raise SourceError(f"s3://{bucket} does not exist: check the bucket") from error


def _line(each: Listed) -> bytes:
    item = {
        "key": each.key,
        "size": each.size_bytes,
        "etag": each.etag,
        "last_modified": datetime.fromtimestamp(each.last_modified, UTC).isoformat(),
    }
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def _size(name: str, value: int | None, *, least: int) -> int | None:
    if value is not None and (type(value) is not int or value < least):
        raise ConfigurationError(f"S3Objects: {name} must be a whole number from {least}, not {value!r}")
    return value


def _moment(name: str, value: datetime | None) -> datetime | None:
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise ConfigurationError(f"S3Objects: {name} must be a datetime with a time zone, not {value!r}")
    return value
