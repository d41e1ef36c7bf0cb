"""The checks of a simulator's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from fanfold._base.aws_limits import SQS_MAX_VISIBILITY_SECONDS
from fanfold._replay.scaling import (
    Growth,
    ManagedInstances,
    Pollers,
    Scaling,
    fixed_scaling,
    provisioned_scaling,
    standard_scaling,
)
from fanfold.errors import ConfigurationError

_DEFAULT_CONCURRENCY: Final = 5
_UNLIMITED: Final = 1_000_000_000


def scaling_of(maximum_concurrency: int | None, pollers: Pollers | None, *, scales: bool) -> Scaling:
    """Return the scaling of a mapping.

    Raises:
        ConfigurationError: If the maximum concurrency is not valid, or is set in provisioned mode.
    """
    if maximum_concurrency is not None and not _is_count(maximum_concurrency):
        raise ConfigurationError(f"maximum_concurrency must be an integer of at least 1, not {maximum_concurrency!r}")
    if pollers is not None and maximum_concurrency is not None:
        raise ConfigurationError(
            f"maximum_concurrency must be None with pollers, not {maximum_concurrency}: AWS accepts only one of them"
        )
    if pollers is not None:
        return provisioned_scaling(pollers)
    if scales:
        return standard_scaling(maximum_concurrency)
    return fixed_scaling(maximum_concurrency or _DEFAULT_CONCURRENCY)


def capacity_of(reserved_concurrency: int | None, managed_instances: ManagedInstances | None) -> Growth:
    """Return how many invocations a function can process concurrently.

    Raises:
        ConfigurationError: If both limits are set.
    """
    if managed_instances is None:
        return fixed_scaling(_UNLIMITED if reserved_concurrency is None else reserved_concurrency)
    if reserved_concurrency is not None:
        raise ConfigurationError(
            f"reserved_concurrency must be None with managed_instances, not {reserved_concurrency}: a function on "
            "Managed Instances has a maximum number of execution environments instead"
        )
    return managed_instances


def check_settings(**values: Any) -> None:
    """Refuse settings that AWS would reject, or with which a run would never end.

    Raises:
        ConfigurationError: If a value is out of range.
    """
    for name in ("throttled", "duplicates"):
        _require(_is_number(values[name]) and 0 <= values[name] <= 1, name, "a number from 0 to 1", values)
    count_or_none = values["max_receive_count"] is None or _is_count(values["max_receive_count"])
    _require(count_or_none, "max_receive_count", "an integer of at least 1, or None", values)
    _check_reserved(values)
    visibility, timeout = values["visibility_timeout"], values["function_timeout"]
    in_range = _is_number(visibility) and 0 <= visibility <= SQS_MAX_VISIBILITY_SECONDS
    _require(in_range, "visibility_timeout", "from 0 to 43,200 seconds", values)
    _require(_is_number(timeout) and timeout > 0, "function_timeout", "a number of seconds above 0", values)
    seconds = values["invocation_seconds"]
    valid = callable(seconds) or seconds == math.inf or (_is_number(seconds) and seconds >= 0)
    _require(valid, "invocation_seconds", "a number of seconds of at least 0, or a function of the event", values)
    for name in ("throttled", "duplicates"):
        if values[name] == 1 and values["max_receive_count"] is None:
            raise ConfigurationError(
                f"{name} must be below 1 if max_receive_count is None, not 1: the queue would never be empty"
            )


def _check_reserved(values: Mapping[str, Any]) -> None:
    reserved, lag = values["reserved_concurrency"], values["switch_seconds"]
    valid = reserved is None or reserved == 0 or _is_count(reserved)
    _require(valid, "reserved_concurrency", "an integer of at least 0, or None", values)
    _require(_is_number(lag) and lag >= 0, "switch_seconds", "a number of seconds of at least 0", values)
    if reserved is not None and values["visibility_timeout"] == 0:
        raise ConfigurationError("visibility_timeout must be above 0 seconds with reserved_concurrency, not 0")
    if reserved == 0 and values["max_receive_count"] is None:
        raise ConfigurationError(
            "reserved_concurrency must be at least 1 without max_receive_count, not 0: the queue would never be empty"
        )


def _require(valid: bool, name: str, requirement: str, values: Mapping[str, Any]) -> None:
    if not valid:
        raise ConfigurationError(f"{name} must be {requirement}, not {values[name]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1
