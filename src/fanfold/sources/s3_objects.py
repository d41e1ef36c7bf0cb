"""A listing of S3 objects, with several keys per segment."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold._ports.stores import Listed, Store
from fanfold.errors import ConfigurationError
from fanfold.sources import manifest
from fanfold.sources.planning import Planned, Step, listing

MAX_KEYS: Final = 100_000
"""Maximum keys of one segment, which planning keeps in memory: about 25 MB."""


class S3Objects:
    """The objects in one listing of a bucket: each key once, in the order of keys.

    The bucket is listed when the run is planned, and the listing is written under the run's prefix. So every cut yields
    the same segments, and millions of keys are never in memory. Objects that are added, deleted, or replaced later have
    no effect.

    Items are dicts: ``key``; ``size``, in bytes; ``etag``, in quotes, as in S3 conditions; ``last_modified``, as ISO
    8601 in UTC. If no object meets the conditions, the run has no segments; that is not an error.

    Args:
        bucket: The bucket.
        prefix: Beginning of the keys to list. The other conditions are evaluated for each listed key.
        suffix: End of the keys.
        pattern: A case-sensitive shell pattern for the whole key, in which ``*`` also matches ``/``; or a compiled
            regular expression to search for in the key.
        min_bytes: Minimum size.
        max_bytes: Maximum size.
        modified_after: Only objects last modified at or after this time; with a time zone.
        modified_before: Only objects last modified before this time; with a time zone.
        keys_per_segment: Maximum number of keys in a segment, from 1 to 100,000.
        bytes_per_segment: Maximum bytes of objects in a segment, but at least one object; None for no limit.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(  # noqa: PLR0913 - one keyword per condition
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
            raise ConfigurationError(f"S3Objects: bucket must be a non-empty string, not {bucket!r}")
        for name, text in (("prefix", prefix), ("suffix", suffix)):
            if not isinstance(text, str):
                raise ConfigurationError(f"S3Objects: {name} must be a string, not {text!r}")
        if not isinstance(pattern, str | re.Pattern | None):
            raise ConfigurationError(
                f"S3Objects: pattern must be a string or a compiled regular expression, not {pattern!r}"
            )
        self.bucket: str = bucket
        self.prefix: str = prefix
        self.suffix: str = suffix
        self.pattern: str | re.Pattern[str] | None = pattern
        self.min_bytes: int | None = _size("min_bytes", min_bytes, minimum=0)
        self.max_bytes: int | None = _size("max_bytes", max_bytes, minimum=self.min_bytes or 0)
        self.modified_after: datetime | None = _moment("modified_after", modified_after)
        self.modified_before: datetime | None = _moment("modified_before", modified_before)
        if type(keys_per_segment) is not int or not 1 <= keys_per_segment <= MAX_KEYS:
            raise ConfigurationError(
                f"S3Objects: keys_per_segment must be an integer from 1 to {MAX_KEYS:,}, not {keys_per_segment!r}"
            )
        self.keys_per_segment: int = keys_per_segment
        self.bytes_per_segment: int | None = _size("bytes_per_segment", bytes_per_segment, minimum=1)

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:
        """List the bucket, write the objects that meet the conditions, and return the plan.

        Raises:
            SourceError: If the bucket does not exist.
        """
        return await self.plan(backend, Step(prefix))

    async def plan(self, backend: Backend, step: Step) -> Mapping[str, Any]:
        """List the bucket from after the last step, write the objects that meet the conditions, and return the plan.

        Raises:
            SourceError: If the bucket does not exist.
        """
        return await manifest.extend(backend, step, self._planned(backend.store, step), type="s3-objects")

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the location of the keys of each segment, from segment number ``first``."""
        for part in manifest.cut(plan, first):
            yield {"type": "s3-objects", **part}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:
        """Yield the listed objects of one segment; the mark of an object is the number of objects so far.

        Raises:
            SourceError: If the written listing no longer exists.
        """
        async with aclosing(manifest.read(part, backend)) as chunks:
            async for lines in chunks:
                yield ((json.loads(line), count) for line, count in lines)

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same segment without the first ``mark`` objects."""
        return manifest.rest(part, mark)

    async def _planned(self, store: Store, step: Step) -> AsyncGenerator[Planned, None]:
        is_selected, must_stop = self._condition(), step.must_stop
        lines: list[bytes] = []
        segment_bytes, after = 0, step.after
        async with aclosing(listing(store, self.bucket, self.prefix, after=after)) as listed_objects:
            async for listed in listed_objects:
                if is_selected(listed):
                    new_bytes = segment_bytes + listed.size_bytes
                    is_full = self.bytes_per_segment is not None and new_bytes > self.bytes_per_segment
                    if lines and (is_full or len(lines) == self.keys_per_segment):
                        yield Planned(lines, after)
                        lines, segment_bytes = [], 0
                    lines.append(_line(listed))
                    segment_bytes += listed.size_bytes
                after = listed.key
                if must_stop():
                    segment, lines, segment_bytes = lines, [], 0
                    yield Planned(segment, after)
        yield Planned(lines)

    def _condition(self) -> Callable[[Listed], bool]:
        minimum, maximum = self.min_bytes or 0, self.max_bytes
        after = self.modified_after.timestamp() if self.modified_after else None
        before = self.modified_before.timestamp() if self.modified_before else None
        match = self.pattern.search if isinstance(self.pattern, re.Pattern) else None
        if isinstance(self.pattern, str):
            match = re.compile(fnmatch.translate(self.pattern)).match

        def is_selected(listed: Listed) -> bool:
            return (
                listed.key.endswith(self.suffix)
                and listed.size_bytes >= minimum
                and (maximum is None or listed.size_bytes <= maximum)
                and (after is None or listed.last_modified >= after)
                and (before is None or listed.last_modified < before)
                and (match is None or match(listed.key) is not None)
            )

        return is_selected


def _line(listed: Listed) -> bytes:
    item = {
        "key": listed.key,
        "size": listed.size_bytes,
        "etag": listed.etag,
        "last_modified": datetime.fromtimestamp(listed.last_modified, UTC).isoformat(),
    }
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def _size(name: str, value: int | None, *, minimum: int) -> int | None:
    if value is not None and (type(value) is not int or value < minimum):
        raise ConfigurationError(f"S3Objects: {name} must be an integer of at least {minimum}, not {value!r}")
    return value


def _moment(name: str, value: datetime | None) -> datetime | None:
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise ConfigurationError(f"S3Objects: {name} must be a datetime with a time zone, not {value!r}")
    return value
