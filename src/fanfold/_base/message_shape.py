"""The shape of a message: equal for messages that differ only in numbers."""

from __future__ import annotations

import re
from typing import Final

_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+(?:\.\d+)?", re.IGNORECASE)


def shape_of(message: str) -> str:
    """Return a message with ``#`` in place of each number, so that messages that differ only in numbers are equal."""
    return _NUMBERS.sub("#", message)
