"""Ranges of whole numbers: offsets and limits for something else to read, or keys from one to another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError

_YIELDS: Final = ("numbers", "bounds")


class Ranges:
    """The whole numbers from ``start`` up to but not including ``stop``, cut by size or into parts.

    ``Ranges(105, size=10)`` is eleven segments, the last of five; ``Ranges(105, parts=4)`` is four, of 27, 26, 26 and
    26; ``Ranges(0, size=10)`` is none. With keys that are numbers, ``Ranges(max_id + 1, start=min_id, size=10_000)`` is
    the safe form of paging: a range of keys holds the same rows however many come and go before it, an offset does not.

    Items are, by ``yields``: ``numbers``: every number of the range, as for an index into something; ``bounds``: one
    dict with ``start``, ``stop`` (not included), ``offset`` (the same as ``start``) and ``limit`` (how many).

    Args:
        stop: One past the last number.
        start: First number.
        size: Most numbers in a segment, from 1.
        parts: Number of segments, from 1, as even as can be; fewer if there are fewer numbers. Either this or ``size``.
        yields: ``numbers`` or ``bounds``.

    Raises:
        ConfigurationError: If a setting is impossible.
    """

    def __init__(
        self, stop: int, *, start: int = 0, size: int | None = None, parts: int | None = None, yields: str = "numbers"
    ) -> None:
        for name, value in (("start", start), ("stop", stop)):
            if type(value) is not int:
                raise ConfigurationError(f"Ranges: {name} must be a whole number, not {value!r}")
        if stop < start:
            raise ConfigurationError(f"Ranges: stop is {stop}, before start, which is {start}")
        if (size is None) == (parts is None):
            raise ConfigurationError("Ranges: say either size, the numbers in a segment, or parts, how many segments")
        for name, wanted in (("size", size), ("parts", parts)):
            if wanted is not None and (type(wanted) is not int or wanted < 1):
                raise ConfigurationError(f"Ranges: {name} must be a whole number from 1, not {wanted!r}")
        if yields not in _YIELDS:
            raise ConfigurationError(f"Ranges: yields must be 'numbers' or 'bounds', not {yields!r}")
        self.start: int = start
        self.stop: int = stop
        self.size: int | None = size
        self.parts: int | None = parts
        self.yields: str = yields

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - there is nothing live to look at
        """Return the plan: the numbers themselves."""
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
        """Yield the range of each segment, from segment number ``first`` on."""
        for number in range(first, plan["segments"]):
            start, stop = _bounds(plan, number)
            yield {"type": "ranges", "start": start, "stop": stop, "yields": plan["yields"]}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int | None]], None]:  # noqa: ARG004 - nothing to fetch
        """Yield the numbers of one range, each with where to go on, or its bounds."""
        start, stop = part["start"], part["stop"]
        if part["yields"] == "bounds":
            yield [({"start": start, "stop": stop, "offset": start, "limit": stop - start}, None)]
        else:
            yield ((number, number + 1) for number in range(start, stop))

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the range from a number on."""
        return {**part, "start": mark}


def _bounds(plan: Mapping[str, Any], number: int) -> tuple[int, int]:
    start, stop, size, segments = plan["start"], plan["stop"], plan["size"], plan["segments"]
    if size is not None:
        return start + number * size, min(start + (number + 1) * size, stop)
    even, rest = divmod(stop - start, segments)  # the first ``rest`` segments hold one more
    begin = start + number * even + min(number, rest)
    return begin, begin + even + (number < rest)
