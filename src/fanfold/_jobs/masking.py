"""Mask the values of parameters that, by their names, are secrets, and compare parameters without showing values.

The ledger stores the parameters of a run, and people who may list runs can read them. A secret should not be a
parameter: pass the name under which the secret is stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
"""Shown in place of a value."""
_SHOWN: Final = 5
_SHOWN_CHARACTERS: Final = 80
_SECRET: Final = re.compile(
    r"password|passwd|passphrase|passcode|^(pwd|pass|pin|auth|jwt|otp)$|secret|token|credential|cookie|signature|authorization"
    r"|(api|access|private|secret|encryption|signing|account|shared)[_-]?key|connection[_-]?string|dsn$",
    re.IGNORECASE,
)


def masked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with ``***`` in place of each value whose name suggests a secret, at any depth."""
    return {name: _masked_value(name, value) for name, value in params.items()}


def difference_of(started: Mapping[str, Any], passed: Mapping[str, Any]) -> str | None:
    """Return how parameters differ from those that a run was started with, by name, without values; None if equal."""
    names = sorted(name for name in {*started, *passed} if _text(started, name) != _text(passed, name))
    if not names:
        return None
    shown = ", ".join(repr(name[:_SHOWN_CHARACTERS]) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _text(params: Mapping[str, Any], name: str) -> str | None:
    return json.dumps(params[name], sort_keys=True) if name in params else None


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
