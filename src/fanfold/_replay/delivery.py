"""One delivery of a batch by a simulated event source mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanfold._replay.mapping import Invocation, Verdict
from fanfold.inmemory.queue import QueuedMessage


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a batch."""

    number: int
    """Number of the delivery, from 0."""
    began_at: float
    """When the function was invoked; simulated seconds."""
    ended_at: float
    """When the invocation ended; simulated seconds."""
    messages: Sequence[QueuedMessage]
    """The messages of the batch, in order."""
    handles: Sequence[str]
    """The receipt handle of each message."""
    receive_counts: Sequence[int]
    """The receive count of each message, including this delivery."""
    invocation: Invocation
    """The result of the invocation."""
    verdict: Verdict
    """The mapping's verdict on the invocation."""
