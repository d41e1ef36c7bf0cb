"""A mark on errors that a ``with`` block has counted, so that they do not count twice."""

from __future__ import annotations

import contextlib
from typing import Any, Final, TypeVar

E = TypeVar("E", bound=BaseException)

_MARK: Final = "_fanfold_breaker"


def marked(error: E, keeper: object) -> E:
    """Return an error, marked with the keeper of the block that has counted it."""
    with contextlib.suppress(Exception):  # an error that allows no attributes counts, but its message is not held
        setattr(error, _MARK, keeper)
    return error


def counted_by(error: BaseException) -> Any:
    """Return the keeper of the block that has counted an error; None without one."""
    return vars(error).get(_MARK) if hasattr(error, "__dict__") else None
