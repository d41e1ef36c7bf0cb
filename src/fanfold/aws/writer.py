"""Items written to DynamoDB tables in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold._ports.stores import Write
from fanfold.aws.attribute_values import ToTyped
from fanfold.aws.clients import client_of
from fanfold.aws.fast_calls import call
from fanfold.aws.faults import map_errors

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "max_attempts": 2},  # the writer retries itself, within the deadline
}


@asynccontextmanager
async def connect(**client: Any) -> AsyncIterator[DynamoDBItems]:
    """Open DynamoDB for ``fanfold.sinks.BatchWriter``; call it once per execution environment, in a job's lifespan.

    Args:
        client: Credentials, region and endpoint of the SDK's client; by default, the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("dynamodb", "DynamoDB", _CONFIG, **client) as dynamodb:
        yield DynamoDBItems(dynamodb)


class DynamoDBItems:
    """DynamoDB tables to write to, over an aiobotocore client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._serialize = ToTyped().serialize

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Write 1 to 25 items of different keys; return the positions of unprocessed ones."""
        requests = [self._request(write) for write in writes]
        with map_errors(f"table {table}"):
            response = await call(self._client, "batch_write_item", table, {"RequestItems": {table: requests}})
        unprocessed = response.get("UnprocessedItems", {}).values()
        keys = [_key_of(request, writes[0].key) for requests in unprocessed for request in requests]
        if not keys:
            return ()
        positions = {position for position, request in enumerate(requests) if _key_of(request, writes[0].key) in keys}
        return positions if len(positions) == len(keys) else range(len(writes))  # ambiguous: rewriting all is harmless

    def _request(self, write: Write) -> dict[str, Any]:
        if write.item is None:
            return {"DeleteRequest": {"Key": self._typed(write.key)}}
        return {"PutRequest": {"Item": self._typed(write.item)}}

    def _typed(self, item: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._serialize(value) for name, value in item.items()}


def _key_of(request: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    item = request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
    return {name: item[name] for name in names}
