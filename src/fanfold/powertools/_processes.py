"""Run the record handler of a processor in worker processes."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Literal

from fanfold._base.context import BatchContext
from fanfold._base.import_string import last_line
from fanfold._base.outcome import NotStarted
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.handler_names import name_in_module
from fanfold._consumer.process_job import PoolBatch, Spec
from fanfold._consumer.process_pool import ProcessPool
from fanfold._consumer.process_start import check_handler, vcpus
from fanfold._consumer.process_wire import ARGUMENTS, MOST_RECORDS
from fanfold._consumer.settings import Settings
from fanfold.errors import NotStartedError
from fanfold.powertools._processors import RunOne

_NO_SETTINGS: Final = pickle.dumps({})
_IDENTIFIER: ContextVar[str] = ContextVar("fanfold_powertools_identifier", default="")
"""Identifier of the record that a task processes."""


class RecordProcesses:
    """The worker processes of a processor.

    Args:
        processes: Number of processes, or ``"auto"``.
        timeout: Seconds after which the process of a record is ended; None for no limit other than the deadline.

    Raises:
        ConfigurationError: If one of them is invalid.
    """

    def __init__(self, processes: int | Literal["auto"], timeout: float | None) -> None:
        Settings(processes=processes, timeout=timeout)  # checks them
        self.count: int = processes if isinstance(processes, int) else vcpus()
        """Number of processes."""
        self._timeout = timeout

    @property
    def records(self) -> int:
        """Maximum number of records that are sent to the processes or wait for one."""
        return self.count * MOST_RECORDS

    def spec_of(self, handler: Callable[..., Any]) -> Spec:
        """Return the handler as the processes find it.

        Raises:
            ConfigurationError: If they cannot.
        """
        check_handler(handler)
        return Spec(name_in_module(handler), _NO_SETTINGS, None, ARGUMENTS)

    def handler(self, spec: Spec, environment: ExecutionEnvironment, shared: BatchContext[Any]) -> Callable[..., Any]:
        """Return an ``async def`` that runs the handler in a process, for the records of a batch."""
        pool = environment.processes(functools.partial(ProcessPool, spec, self.count), (spec, self.count))
        return functools.partial(_call, pool, pool.begin(shared, self._timeout, keeps_values=True))

    def identified(self, run_one: RunOne, identifier_of: Callable[[dict[str, Any]], object]) -> RunOne:
        """Return what runs one record, with its identifier for the log records of its handler."""

        async def run(raw: dict[str, Any]) -> Any:
            _IDENTIFIER.set(str(identifier_of(raw) or ""))
            return await run_one(raw)

        return run


async def _call(pool: ProcessPool, batch: PoolBatch, **arguments: Any) -> Any:
    """Run the handler in a process, and return what it returns.

    Raises:
        NotStartedError: If no process was free before the deadline.
        TypeError: If the record cannot be pickled.
        BaseException: As ``ProcessPool.run``.
    """
    takes_context = arguments.pop("lambda_context", None) is not None
    try:
        content = pickle.dumps((arguments, takes_context), protocol=5)
    except Exception as error:
        raise TypeError(f"the record cannot be sent to a worker process: {last_line(error)}") from error
    result = await pool.run(_IDENTIFIER.get(), content, len(content), batch)
    if isinstance(result, NotStarted):
        raise NotStartedError(result.reason)
    return None if result is None else result.value
