"""The state that the handlers of a job share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fanfold._ports.backend import Backend


@dataclass(frozen=True, slots=True)
class JobState:
    """The state that the handlers of a job share in one execution environment."""

    backend: Backend
    """Queues, ledger, and store."""
    user: Any = None
    """The value that the job's lifespan yielded."""
