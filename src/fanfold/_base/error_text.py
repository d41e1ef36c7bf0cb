"""The text of an error for a log line, in a bounded number of steps and characters, without a change to the error."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Final

MAX_ERRORS: Final = 20
"""Errors of a chain or a group that are formatted."""
MAX_FRAMES: Final = 20
"""Frames of a traceback that are formatted: the innermost."""
MAX_CHARACTERS: Final = 10_000
"""Characters of the text: the first and the last half."""
_MAX_LOGGED_FRAMES: Final = 50


def error_text(error: BaseException) -> str:
    """Format an error as Python does; of a longer chain or a larger group, only the errors nearest to it.

    ``traceback`` formats every cause, context and member of a group, and every line of a text: seconds for thousands.
    """
    errors, complete = related_errors(error)
    try:
        texts = [_text(related) for related in errors]
        if complete and all(len(text) <= MAX_CHARACTERS for text in texts):
            return clip("".join(traceback.format_exception(error, limit=-MAX_FRAMES)))
        parts = [] if complete else [f"the first {len(errors)} of the errors that caused this one or belong to it:\n"]
        for related, text in zip(errors, texts, strict=True):
            parts += _parts(related, text)
        return clip("".join(parts))
    except BaseException:  # noqa: BLE001 - an error of the user's that cannot be formatted
        return f"{type(error).__qualname__}: the error cannot be formatted"


def related_errors(error: BaseException) -> tuple[Sequence[BaseException], bool]:
    """Return the first errors of a chain, and whether these are all.

    The first is the error itself, then come its cause, its context, and the members of its group, and so on.
    """
    errors = [error]
    if error.__cause__ is None and error.__context__ is None and not isinstance(error, BaseExceptionGroup):
        return errors, True  # as most errors
    seen = {id(error)}
    for related in errors:
        linked = [related.__cause__, related.__context__]
        if isinstance(related, BaseExceptionGroup):
            linked += related.exceptions[: MAX_ERRORS + 1]
        for item in linked:
            if isinstance(item, BaseException) and id(item) not in seen:
                if len(errors) == MAX_ERRORS:
                    return errors, False
                seen.add(id(item))
                errors.append(item)
    return errors, True


def is_short(error: BaseException) -> bool:
    """Return whether Python's own text of an error, with all its frames, is short enough for a log line."""
    errors, complete = related_errors(error)
    return (
        complete
        and all(_depth(related.__traceback__) <= _MAX_LOGGED_FRAMES for related in errors)
        and len(error_text(error)) < MAX_CHARACTERS
    )


def clip(text: str, characters: int = MAX_CHARACTERS) -> str:
    """Return a text of at most about this length: of a longer one, the first and the last half."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} more characters]\n{text[-half:]}"


def message_of(error: BaseException, characters: int = MAX_CHARACTERS) -> str:
    """Return the start of the message of an error, as ``storable``; empty if the user's error cannot make it."""
    try:
        return storable(str(error), characters)
    except BaseException:  # noqa: BLE001 - a user's error whose __str__ raises
        return ""


def storable(text: str, characters: int) -> str:
    """Return the start of a text, with an escape for half of a surrogate pair, which UTF-8 cannot encode."""
    return text[:characters].encode(errors="backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - a user's error whose __str__ raises
        return "<exception str() failed>"


def _parts(error: BaseException, text: str) -> Sequence[str]:
    """Return the frames and the text of an error, without those that are related to it."""
    name, module = type(error).__qualname__, type(error).__module__
    return [
        "Traceback (most recent call last):\n",
        *traceback.format_tb(error.__traceback__, limit=-MAX_FRAMES),
        f"{name if module in {'builtins', '__main__'} else f'{module}.{name}'}: {clip(text)}\n",
    ]


def _depth(frames: TracebackType | None) -> int:
    depth = 0
    while frames is not None and depth <= _MAX_LOGGED_FRAMES:
        depth, frames = depth + 1, frames.tb_next
    return depth
