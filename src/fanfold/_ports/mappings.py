"""The interface that enables and disables the event source mappings of a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Mappings(Protocol):
    """The event source mappings of functions."""

    async def set_enabled(self, function: str, queue_arns: Sequence[str], enabled: bool) -> bool:
        """Enable or disable the mappings from queues to a function. Idempotent.

        The change takes effect within about a minute. Mappings of other functions that read the same queues do not
        change.

        Args:
            function: Name or ARN of the function. A version or alias at its end is ignored.
            queue_arns: ARNs of the queues.
            enabled: True to enable the mappings, False to disable them.

        Returns:
            True if every mapping is, or is about to be, in this state; False if one is being changed otherwise, so that
            the caller has to try again later.

        Raises:
            ConfigurationError: If no mapping from one of the queues to the function exists, or access is denied.
            ServiceError: If Lambda does not respond.
        """
        ...
