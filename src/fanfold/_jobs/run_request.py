"""What whoever starts a run gives: its parameters and its name."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fanfold._ports.run import check_name
from fanfold.errors import ConfigurationError

__all__ = ["request_of"]


def request_of(event: Any, context: Any) -> tuple[dict[str, Any], str]:
    """Return the parameters and the run id that whoever starts a run gave.

    Raises:
        ConfigurationError: If it is no such request.
    """
    given = {} if event is None else event
    if not isinstance(given, Mapping) or not isinstance(given.get("params", {}), Mapping):
        raise ConfigurationError('a run is started with {"params": {…}, "run": "…"}, both optional')
    if unknown := sorted(set(given) - {"params", "run"}):
        raise ConfigurationError(f'a run is started with "params" and "run"; {unknown[0]!r} is not known')
    run_id = given.get("run") or getattr(context, "aws_request_id", None) or uuid.uuid4().hex
    return dict(given.get("params", {})), check_name(run_id, "run")
