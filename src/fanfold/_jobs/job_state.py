"""The state that the handlers of a job share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from fanfold._base.context import BatchContext
from fanfold._base.log import BatchLogger
from fanfold._base.threads import Threads
from fanfold._ports.backend import Backend


@dataclass(frozen=True, slots=True)
class JobState:
    """The state that the handlers of a job share in one execution environment."""

    backend: Backend
    """Queues, ledger, and store."""
    user: Any = None
    """The value that the job's lifespan yielded."""
    threads: Threads = field(default_factory=Threads)
    """Worker threads for ``def`` segment handlers."""

    @property
    def abandoned_threads(self) -> int:
        """Number of ``def`` segment handlers that still run although they were cancelled."""
        return self.threads.abandoned


_LOGGER: Final = "_logger"
"""Key of the log among the values that a batch shares; not valid as the name of a run."""


def logger_of(batch: BatchContext[Any]) -> BatchLogger:
    """Return the log of a batch, which logs only the first few lines of each kind."""
    logger: BatchLogger = batch.shared.setdefault(_LOGGER, BatchLogger())
    return logger
