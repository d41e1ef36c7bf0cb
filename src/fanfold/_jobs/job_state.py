"""What the handlers of a job's functions share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fanfold._ports.backend import Backend


@dataclass(frozen=True, slots=True)
class JobState:
    """What the handlers of a job's functions share in one execution environment."""

    backend: Backend
    """Queues, ledger and store."""
    user: Any = None
    """What the job's own lifespan yielded."""
