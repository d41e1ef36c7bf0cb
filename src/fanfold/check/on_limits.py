"""The rules about limits of functions behind a mapping, by kind of function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fanfold._base.aws_limits import (
    LAMBDA_FILE_DESCRIPTORS,
    LAMBDA_MAX_MEMORY_MB,
    LAMBDA_MAX_TIMEOUT_SECONDS,
    MANAGED_INSTANCES_MAX_MEMORY_MB,
    MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS,
)
from fanfold.check.values import Function, Hit, Model, NotKnown, Setting
from fanfold.check.wording import amount, describe, function_of, invoked, not_known

RESERVED_DESCRIPTORS: Final = 64
"""File descriptors of a process that fanfold does not give to handlers (``_consumer/process_limits.py``)."""


def above_limit(model: Model) -> Iterator[Hit | NotKnown]:
    """Find timeouts and memory sizes that Lambda rejects for this kind of function."""
    for function in invoked(model):
        limits = (
            (function.timeout, "s", LAMBDA_MAX_TIMEOUT_SECONDS, MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS),
            (function.memory, "MB", LAMBDA_MAX_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB),
        )
        for setting, unit, ordinary, managed in limits:
            yield from _above(function, setting, unit, ordinary, managed)


def _above(
    function: Function, setting: Setting[float], unit: str, ordinary: int, managed: int
) -> Iterator[Hit | NotKnown]:
    value, kind = setting.value or 0, function.managed_instances
    if value <= ordinary or (kind.value and value <= managed):
        return
    if not kind.known and value <= managed:
        yield from not_known(kind)
        return
    where = "on Managed Instances" if kind.value else "of a function that does not run on Managed Instances"
    actual = f"{describe(setting, unit)} {where}: Lambda rejects the function"
    limit = managed if kind.value else ordinary
    yield Hit(function.key, setting.place, actual, f"at most {amount(limit)} {unit}")


def isolated_by_tenant(model: Model) -> Iterator[Hit | NotKnown]:
    """Find functions with tenant isolation that a mapping or pipe invokes."""
    for reader in model.readers:
        function = function_of(model, reader)
        if function is None:
            continue
        yield from not_known(function.isolation)
        if function.isolation.value is not None:
            actual = f"TenantIsolationMode {function.isolation.value}: {reader.key} passes no tenant id, so it cannot "
            actual += f"invoke {function.key}"
            fix = "no TenancyConfig; fanfold can limit the concurrency of each tenant (tenant_concurrency)"
            yield Hit(function.key, function.isolation.place, actual, fix)


def durable_too_long(model: Model) -> Iterator[Hit | NotKnown]:
    """Find durable functions behind a mapping whose executions may take longer than an invocation."""
    for function in invoked(model):
        timeout, kind = function.durable_timeout, function.managed_instances
        yield from not_known(timeout)
        limit = MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS if kind.value else LAMBDA_MAX_TIMEOUT_SECONDS
        if (timeout.value or 0) <= limit:
            continue
        if not kind.known and (timeout.value or 0) <= MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS:
            yield from not_known(kind)
            continue
        actual = (
            f"{describe(timeout, 's')}: a mapping waits for the whole execution, which ends after {amount(limit)} s at "
            "most; the batch is then redelivered"
        )
        yield Hit(function.key, timeout.place, actual, f"at most {amount(limit)} s")


def too_few_descriptors(model: Model) -> Iterator[Hit | NotKnown]:
    """Find a ``FANFOLD_CONCURRENCY`` above the file descriptors of a process."""
    free = LAMBDA_FILE_DESCRIPTORS - RESERVED_DESCRIPTORS
    for function in invoked(model):
        concurrency = function.concurrency
        if (concurrency.value or 0) > free:
            actual = (
                f"{describe(concurrency)}, but a process has {LAMBDA_FILE_DESCRIPTORS:,} file descriptors: fanfold "
                f"starts at most about {amount(free)} handlers"
            )
            yield Hit(function.key, concurrency.place, actual, f"at most {amount(free)}, and more invocations")
