"""Mask the values of parameters that, by their names, are secrets. A parameter should be the name of a secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
"""Shown in place of a value."""
_SECRET: Final = re.compile(
    r"pass(word|wd|phrase|code)|^(pwd|pass|pin|auth|jwt|otp)$|secret|token|credential|cookie|signature|authorization"
    r"|(api|access|private|secret|encryption|signing|account|shared)[_-]?key|connection[_-]?string|dsn$",
    re.IGNORECASE,
)


def masked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with ``***`` in place of each value whose name suggests a secret, at any depth."""
    return {name: _masked_value(name, value) for name, value in params.items()}


def _masked_value(name: str, value: Any) -> Any:
    if _SECRET.search(str(name)) and value not in (None, "", True, False):
        return MASK
    return _masked_inside(value)


def _masked_inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return masked(value)
    if isinstance(value, list | tuple):
        return [_masked_inside(item) for item in value]
    return value
