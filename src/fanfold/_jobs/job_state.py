"""The state that the handlers of a job share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fanfold._base.context import BatchContext
from fanfold._base.log import BatchLogger
from fanfold._ports.backend import Backend


@dataclass(frozen=True, slots=True)
class JobState:
    """The state that the handlers of a job share in one execution environment."""

    backend: Backend
    """Queues, ledger, and store."""
    user: Any = None
    """The value that the job's lifespan yielded."""


_LOGGER: Final = "_logger"
"""Key of the log among the values that a batch shares; not valid as the name of a run."""


def logger_of(batch: BatchContext[Any]) -> BatchLogger:
    """Return the log of a batch, which logs only the first few lines of each kind."""
    logger: BatchLogger = batch.shared.setdefault(_LOGGER, BatchLogger())
    return logger
