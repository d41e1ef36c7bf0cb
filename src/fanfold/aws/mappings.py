"""The event source mappings of Lambda: enable and disable those of a function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from botocore.exceptions import ClientError

from fanfold.aws.clients import client_of
from fanfold.aws.faults import map_errors
from fanfold.errors import ConfigurationError, ServiceError

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "max_attempts": 3},
}
_IN_USE: Final = frozenset({"ResourceInUseException", "ResourceConflictException"})
"""Error codes for a mapping that is being created, updated, or deleted."""
_DENIED: Final = "AccessDeniedException"
_ENABLED: Final = frozenset({"Enabled", "Enabling"})
_DISABLED: Final = frozenset({"Disabled", "Disabling"})
_GONE: Final = "Deleting"
_PERMISSIONS: Final = (
    "allow the role of the function lambda:ListEventSourceMappings on *, and lambda:UpdateEventSourceMapping on the "
    "mapping (see docs/outages.md), or unset FANFOLD_BREAKER_PAUSES_MAPPING"
)


@asynccontextmanager
async def open_mappings() -> AsyncIterator[LambdaMappings]:
    """Yield what enables and disables mappings; credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("lambda", "Lambda", _CONFIG) as client:
        yield LambdaMappings(client)


class LambdaMappings:
    """The event source mappings of Lambda.

    Args:
        client: An aiobotocore client of Lambda.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    async def set_enabled(self, function: str, queue_arns: Sequence[str], enabled: bool) -> bool:
        """Enable or disable the mappings from queues to a function; see the port ``Mappings``."""
        done = True
        for queue in queue_arns:
            exists = False
            async for mapping in self._of(function, queue):
                exists = True
                done = await self._set(mapping, queue, enabled=enabled) and done
            if not exists:
                raise ConfigurationError(
                    f"queue {queue}: no event source mapping from it to function {_name_of(function)} exists that a "
                    "breaker could pause: unset FANFOLD_BREAKER_PAUSES_MAPPING"
                )
        return done

    async def _of(self, function: str, queue: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the mappings from a queue to a function.

        Lambda's own filter by function finds only mappings with the same version or alias.
        """
        request = {"EventSourceArn": queue}
        while True:
            with _mapped(queue):
                page = await self._client.list_event_source_mappings(**request)
            for mapping in page.get("EventSourceMappings", []):
                if _name_of(mapping.get("FunctionArn", "")) == _name_of(function) and mapping.get("State") != _GONE:
                    yield mapping
            if not page.get("NextMarker"):
                return
            request["Marker"] = page["NextMarker"]

    async def _set(self, mapping: Mapping[str, Any], queue: str, *, enabled: bool) -> bool:
        if mapping.get("State") in (_ENABLED if enabled else _DISABLED):
            return True
        try:
            with _mapped(queue):
                await self._client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)
        except ServiceError as error:
            if error.code not in _IN_USE:
                raise
            return False
        return True


def _name_of(function: str) -> str:
    """Return the name of a function, from its name or ARN, with or without a version or alias."""
    before, separator, after = function.partition(":function:")
    return (after if separator else before).partition(":")[0]


@contextmanager
def _mapped(queue: str) -> Iterator[None]:
    """Raise SDK errors of the ``with`` block as fanfold's errors; a missing permission with the fix."""
    try:
        with map_errors(f"event source mapping of {queue}"):
            yield
    except ConfigurationError as error:
        cause = error.__cause__
        if not isinstance(cause, ClientError) or cause.response.get("Error", {}).get("Code") != _DENIED:
            raise
        raise ConfigurationError(f"{error}; {_PERMISSIONS}") from cause
