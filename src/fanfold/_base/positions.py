"""Positions that another party returned: used only if every one of them is valid."""

from __future__ import annotations

from collections.abc import Iterable


def checked_positions(positions: object, count: int) -> frozenset[int]:
    """Return positions within a list as a set.

    ``True`` is not position 1, and ``-1`` is not the last one: a value that may mean something else means nothing.

    Args:
        positions: A collection of integers from 0 to ``count`` - 1; a repeat is harmless.
        count: The length of the list.

    Raises:
        ValueError: If it is anything else; the message names the first value that is not a position.
    """
    if isinstance(positions, str | bytes) or not isinstance(positions, Iterable):
        raise ValueError(  # noqa: TRY004 - one error for every invalid value
            f"positions must be a collection of integers, not {positions!r}"
        )
    valid: set[int] = set()
    for position in positions:
        if type(position) is not int or not 0 <= position < count:
            raise ValueError(f"positions must be integers from 0 to {count - 1}, not {position!r}")
        valid.add(position)
    return frozenset(valid)
