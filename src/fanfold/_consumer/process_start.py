"""Decide how many worker processes a consumer has, and start them."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, Final

from fanfold._base import aws_limits
from fanfold._base.callables import NO_PROCESSES, is_coroutine_function
from fanfold._consumer.binding import takes_only_body
from fanfold._consumer.handler_names import name_of_consumer
from fanfold._consumer.process_job import Spec
from fanfold._consumer.process_limits import concurrent_processes
from fanfold._consumer.process_pool import ProcessPool
from fanfold._consumer.process_slot import Child
from fanfold._consumer.process_wire import BODY, MOST_RECORDS, RECORD
from fanfold._consumer.settings import AUTO, CONCURRENCY_VARIABLE, Settings, allowed_concurrency
from fanfold.errors import ConfigurationError

_LEAST_MEMORY_MB: Final = 128
"""Memory of the function for each process, at least."""


class Processes:
    """The worker processes of a consumer.

    Args:
        function: The handler.
        settings: Settings with ``processes``.

    Raises:
        ConfigurationError: If the handler cannot run in worker processes.
    """

    def __init__(self, function: Callable[..., Any], settings: Settings) -> None:
        check_handler(function)
        self._settings = settings
        self._gates_each_start = settings.starts_per_second is not None
        changed = {"reject_on": settings.reject_on, "lifespan": settings.lifespan}
        takes = BODY if takes_only_body(function) else RECORD
        max_tasks = settings.max_tasks_per_process
        self._spec = Spec(name_of_consumer(function), _pickled(changed), max_tasks, takes)
        self._started: list[Child] = []
        self._started_by = 0

    @functools.cached_property
    def count(self) -> int:
        """Number of processes: ``FANFOLD_CONCURRENCY`` if it is set, or the setting."""
        settings = self._settings
        if os.environ.get(CONCURRENCY_VARIABLE, "").strip() not in {"", AUTO}:
            return allowed_concurrency(settings)
        return settings.processes if isinstance(settings.processes, int) else vcpus()

    @property
    def records(self) -> int:
        """Maximum number of records that are sent to the processes or wait for one."""
        return self.count * (1 if self._gates_each_start else MOST_RECORDS)

    def start(self) -> None:
        """Start the processes, during Lambda's init phase.

        Not for SnapStart, whose snapshots contain one process, nor on Managed Instances, which fork this one.
        """
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start" and concurrent_processes() == 1:
            self._started_by = os.getpid()
            with contextlib.suppress(OSError):  # the first batch tries again, and logs why it cannot
                for _ in range(self.count):
                    self._started.append(Child())

    def close(self) -> None:
        """End the processes that no batch has used."""
        started, self._started = self._started, []
        for child in started:
            child.close()

    def open(self, memory_bytes: float | None) -> ProcessPool:
        """Return the processes on the running event loop.

        Args:
            memory_bytes: Memory that this process and its worker processes share; None if it is unknown.
        """
        started, self._started = self._started, []
        if self._started_by != os.getpid():
            started = []  # they belong to the process that has forked this one
        share = None if memory_bytes is None else memory_bytes / (self.count + 1)
        return ProcessPool(self._spec, self.count, memory_share=share, started=started)


def check_handler(function: Callable[..., Any]) -> None:
    """Refuse a handler that is not for processes, and a platform without them.

    Raises:
        ConfigurationError: If it is an ``async def``, or of a job, or the platform lacks signals, or this is a worker
            process.
    """
    if reason := getattr(function, NO_PROCESSES, ""):
        raise ConfigurationError(f"{reason}; remove processes")
    name = getattr(function, "__qualname__", repr(function))
    if is_coroutine_function(function):
        raise ConfigurationError(f"{name} is an async def: processes is for def handlers; remove it, or use a def")
    if "fanfold._consumer.process_child" in sys.modules:  # would start processes that start processes
        raise ConfigurationError(f"{name} is called in a worker process, which cannot start others: not at the import")
    if not hasattr(os, "killpg"):
        raise ConfigurationError("processes needs signals, which this platform does not have; use threads")


def vcpus() -> int:
    """Return the number of processes for ``"auto"``."""
    memory_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if concurrent_processes() > 1:
        return 1
    if memory_mb.isdecimal():
        fitting = int(memory_mb) // _LEAST_MEMORY_MB
        return max(1, min(math.ceil(int(memory_mb) / aws_limits.LAMBDA_MB_PER_VCPU), fitting))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pickled(settings: dict[str, Any]) -> bytes:
    """Return the settings that are set and can be pickled."""
    kept = {}
    for name, value in settings.items():
        try:
            pickle.dumps(value)
        except Exception:  # noqa: BLE001, S112 - such as a lambda
            continue
        if value is not None:
            kept[name] = value
    return pickle.dumps(kept, protocol=5)
