"""Ranges of integers: offsets and limits, or ranges of numeric keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError

_YIELDS: Final = ("numbers", "bounds")


class Ranges:
    """The integers from ``start`` up to but not including ``stop``, cut by size or into parts.

    ``Ranges(105, size=10)`` is eleven segments, the last of five; ``Ranges(105, parts=4)`` is four, of 27, 26, 26 and
    26; ``Ranges(0, size=10)`` has no segments. For numeric keys, ``Ranges(max_id + 1, start=min_id, size=10_000)`` is
    safer than offsets: rows that are inserted or deleted earlier shift offsets, but not ranges of keys.

    Items depend on ``yields``. ``numbers``: every number of the range. ``bounds``: one dict with ``start``, ``stop``
    (not included), ``offset`` (equals ``start``), and ``limit`` (the number of integers).

    Args:
        stop: One past the last number.
        start: First number.
        size: Maximum number of integers in a segment, from 1.
        parts: Number of segments, from 1, as even as possible; fewer if there are fewer numbers. Specify either this or
            ``size``.
        yields: ``numbers`` or ``bounds``.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(
        self, stop: int, *, start: int = 0, size: int | None = None, parts: int | None = None, yields: str = "numbers"
    ) -> None:
        for name, value in (("start", start), ("stop", stop)):
            if type(value) is not int:
                raise ConfigurationError(f"Ranges: {name} must be an integer, not {value!r}")
        if stop < start:
            raise ConfigurationError(f"Ranges: stop must be at least start, which is {start}, not {stop}")
        if (size is None) == (parts is None):
            raise ConfigurationError(
                "Ranges: specify either size, the numbers per segment, or parts, the number of segments"
            )
        for name, count in (("size", size), ("parts", parts)):
            if count is not None and (type(count) is not int or count < 1):
                raise ConfigurationError(f"Ranges: {name} must be an integer of at least 1, not {count!r}")
        if yields not in _YIELDS:
            raise ConfigurationError(f"Ranges: yields must be 'numbers' or 'bounds', not {yields!r}")
        self.start: int = start
        self.stop: int = stop
        self.size: int | None = size
        self.parts: int | None = parts
        self.yields: str = yields

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - this source reads no live system
        """Return the plan: the bounds and the number of segments."""
        total = self.stop - self.start
        count = -(-total // self.size) if self.size else min(self.parts or 0, total)
        return {
            "type": "ranges",
            "start": self.start,
            "stop": self.stop,
            "size": self.size,
            "segments": count,
            "yields": self.yields,
        }

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the range of each segment, from segment number ``first``."""
        for number in range(first, plan["segments"]):
            start, stop = _bounds(plan, number)
            yield {"type": "ranges", "start": start, "stop": stop, "yields": plan["yields"]}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int | None]], None]:  # noqa: ARG004 - the part contains the range
        """Yield the bounds of one range, or its numbers; the mark of a number is the next number."""
        start, stop = part["start"], part["stop"]
        if part["yields"] == "bounds":
            yield [({"start": start, "stop": stop, "offset": start, "limit": stop - start}, None)]
        else:
            yield ((number, number + 1) for number in range(start, stop))

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the same range, starting at a number."""
        return {**part, "start": mark}


def _bounds(plan: Mapping[str, Any], number: int) -> tuple[int, int]:
    start, stop, size, segments = plan["start"], plan["stop"], plan["size"], plan["segments"]
    if size is not None:
        return start + number * size, min(start + (number + 1) * size, stop)
    quotient, remainder = divmod(stop - start, segments)  # the first ``remainder`` segments have one more
    begin = start + number * quotient + min(number, remainder)
    return begin, begin + quotient + (number < remainder)
