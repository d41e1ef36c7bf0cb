"""The resources of an execution environment that a batch uses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from fanfold._base.threads import Threads

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.settle import OpenSettler


class Resources(Protocol):
    """The resources of an execution environment that a batch uses."""

    loop: asyncio.AbstractEventLoop
    """The event loop of the consumer."""
    threads: Threads
    """Worker threads."""
    settler: OpenSettler
    """Opens what sends dead letters and sets delays."""
