"""Pausing the event source mappings of a function while a service is down: only to save cost, never to keep messages.

A paused mapping uses no receives, but it must be enabled again. So that this is never forgotten, the circuit contains
the queues before their mappings are disabled, and each reader of a closed circuit enables them: a batch, the tick, or
the rule that invokes the function every five minutes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from fanfold._base.log import logger
from fanfold._ports.breakers import Circuit
from fanfold.errors import FanfoldError

if TYPE_CHECKING:
    from fanfold._ports.mappings import Mappings

OpenMappings: TypeAlias = Callable[[], Awaitable["Mappings"]]


class MappingPause:
    """Disables and enables the mappings from the queues of a consumer to its function.

    Args:
        name: Name of the breaker.
        open_mappings: Opens what changes mappings.
    """

    def __init__(self, name: str, open_mappings: OpenMappings) -> None:
        self._name = name
        self._open = open_mappings
        self.function: str = ""
        """ARN of the function; empty before its first batch."""
        self.queues: set[str] = set()
        """ARNs of the queues whose batches it has received."""

    def wanted(self, circuit: Circuit) -> Circuit | None:
        """Return an open circuit with the queues to pause; None if there is nothing to change."""
        queues = " ".join(sorted(self.queues))
        return None if circuit.is_closed or circuit.paused == queues or not queues else circuit._replace(paused=queues)

    async def apply(self, circuit: Circuit) -> bool:
        """Disable the mappings of an open circuit, or enable those of a closed one; return whether that succeeded."""
        if not circuit.paused or not self.function:
            return False
        try:
            return await (await self._open()).set_enabled(
                self.function, circuit.paused.split(), enabled=circuit.is_closed
            )
        except FanfoldError as error:
            what = "enabled" if circuit.is_closed else "paused"
            logger.warning("breaker %r: the mapping could not be %s: %s", self._name, what, error)
            return False
