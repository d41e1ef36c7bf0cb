"""Durations and lists of numbers as short texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNITS: Final = (
    (86_370, 86_400, "d", 3_600, "h"),
    (3_599.5, 3_600, "h", 60, "min"),
    (59.5, 60, "min", 1, "s"),
)
"""By unit: the least duration that is written in it, its size and name, and those of the smaller unit."""


def duration_text(seconds: float) -> str:
    """Return a duration as text with about two digits, such as ``250 ms``, ``7.2 s``, or ``1 min 30 s``."""
    for least, size, name, smaller_size, smaller_name in _UNITS:
        if seconds >= least:
            total = round(seconds / smaller_size)
            more = total % (size // smaller_size)
            return f"{total * smaller_size // size} {name}" + (f" {more} {smaller_name}" if more else "")
    if seconds >= 9.95:  # noqa: PLR2004 - so that it is not rounded to three digits
        return f"{seconds:.0f} s"
    if seconds >= 0.9995:  # noqa: PLR2004 - as above
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds else "0 s"


def printable(text: str) -> str:
    """Return a text without characters that control a terminal or the direction of writing, or that are not characters.

    Line breaks and tabs stay.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def ranges_text(numbers: Iterable[int], *, characters: int, separator: str = ",") -> str | None:
    """Return ascending numbers as text, such as ``3,17,20-25``; None if it has more characters than allowed.

    Args:
        numbers: Different numbers, ascending.
        characters: Maximum length of the text.
        separator: Text between two numbers.
    """
    text = ""
    for first, last in _ranges(numbers):
        part = str(first) if first == last else f"{first}-{last}"
        text += f"{separator}{part}" if text else part
        if len(text) > characters:
            return None
    return text


def first_ranges_text(numbers: Iterable[int], *, characters: int) -> str:
    """Return ascending numbers as text, such as ``3, 17, 20-25``; a longer list is cut and ends in ``…``."""
    text = ""
    for first, last in _ranges(numbers):
        part = str(first) if first == last else f"{first}-{last}"
        longer = f"{text}, {part}" if text else part
        if len(longer) + 3 > characters and text:
            return f"{text}, …"
        text = longer
    return text


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of each range of successive numbers."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number == last + 1:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last
