"""Idempotency entries in a DynamoDB table with the layout of Powertools for AWS Lambda."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry, Layout
from fanfold.aws.clients import client_of
from fanfold.aws.fast_calls import call
from fanfold.aws.faults import is_conditional_check, map_errors
from fanfold.errors import ServiceError

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 10,
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "max_attempts": 3},
}


@asynccontextmanager
async def open_entries(table: str, layout: Layout) -> AsyncIterator[DynamoDBEntries]:
    """Open a table with a separate client; credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("dynamodb", "DynamoDB", _CONFIG) as client:
        yield DynamoDBEntries(client, table, layout)


class DynamoDBEntries:
    """Entries in a DynamoDB table, over an aiobotocore client."""

    def __init__(self, client: Any, table: str, layout: Layout | None = None) -> None:
        self._client = client
        self._table = table
        self._layout = layout or Layout()
        self._names = {
            "#id": self._layout.key_attr,
            "#expiry": self._layout.expiry_attr,
            "#lease": self._layout.in_progress_expiry_attr,
            "#status": self._layout.status_attr,
        }

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return the entries of 1 to 100 different keys, where they exist."""
        request = {"Keys": [self._key(key) for key in keys]}
        with map_errors(f"table {self._table}"):
            response = await self._call("batch_get_item", RequestItems={self._table: request})
        return [self._entry(item) for item in response["Responses"].get(self._table, [])]

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry; if a completed or locked one exists, return that instead."""
        try:
            with map_errors(f"table {self._table}"):
                await self._call(
                    "put_item",
                    TableName=self._table,
                    Item=self._item(entry),
                    # the condition of Powertools, so that fanfold and Powertools respect each other's locks
                    ConditionExpression=(
                        "attribute_not_exists(#id) OR #expiry < :now OR "
                        "(#status = :inprogress AND attribute_exists(#lease) AND #lease < :now_in_millis)"
                    ),
                    ExpressionAttributeNames=self._names,
                    ExpressionAttributeValues={
                        ":now": {"N": str(int(now))},
                        ":now_in_millis": {"N": str(int(now * 1000))},
                        ":inprogress": {"S": IN_PROGRESS},
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            existing = self._entry(error.__cause__.response["Item"])  # type: ignore[union-attr] # a ClientError
            return None if existing.owner == entry.owner else existing  # our own claim: a retry after a lost response
        return None

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write 1 to 25 entries of different keys unconditionally; return the positions of those not written."""
        items = [self._item(entry) for entry in entries]
        with map_errors(f"table {self._table}"):
            response = await self._call(
                "batch_write_item", RequestItems={self._table: [{"PutRequest": {"Item": item}} for item in items]}
            )
        requests = response.get("UnprocessedItems", {}).get(self._table, [])
        unprocessed = {self._entry(request["PutRequest"]["Item"]).key for request in requests}
        return [position for position, entry in enumerate(entries) if entry.key in unprocessed]

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry if it is in progress and still belongs to this owner."""
        try:
            with map_errors(f"table {self._table}"):
                await self._client.delete_item(
                    TableName=self._table,
                    Key=self._key(key),
                    ConditionExpression="#owner = :owner AND #status = :inprogress",
                    ExpressionAttributeNames={
                        "#owner": self._layout.owner_attr,
                        "#status": self._layout.status_attr,
                    },
                    ExpressionAttributeValues={":owner": {"S": owner}, ":inprogress": {"S": IN_PROGRESS}},
                )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await call(self._client, operation, self._table, arguments)

    def _key(self, key: str) -> dict[str, Any]:
        layout = self._layout
        if layout.sort_key_attr is None:
            return {layout.key_attr: {"S": key}}
        partition = layout.static_pk_value
        if partition is None:
            partition = f"idempotency#{os.environ.get('AWS_LAMBDA_FUNCTION_NAME', '')}"
        return {layout.key_attr: {"S": partition}, layout.sort_key_attr: {"S": key}}

    def _item(self, entry: Entry) -> dict[str, Any]:
        layout = self._layout
        item = {
            **self._key(entry.key),
            layout.expiry_attr: {"N": str(entry.expires_at)},
            layout.status_attr: {"S": entry.status},
        }
        if entry.lease_ends_at is not None:
            item[layout.in_progress_expiry_attr] = {"N": str(int(entry.lease_ends_at * 1000))}
        if entry.owner is not None:
            item[layout.owner_attr] = {"S": entry.owner}
        if entry.status == COMPLETED:
            item[layout.data_attr] = {"S": "null" if entry.result is None else entry.result}
        return item

    def _entry(self, item: Mapping[str, Any]) -> Entry:
        layout = self._layout
        lease = item.get(layout.in_progress_expiry_attr, {}).get("N")
        return Entry(
            key=item[layout.sort_key_attr or layout.key_attr]["S"],
            status=item.get(layout.status_attr, {}).get("S", ""),
            expires_at=int(float(item.get(layout.expiry_attr, {}).get("N", 0))),
            lease_ends_at=None if lease is None else float(lease) / 1000,
            owner=item.get(layout.owner_attr, {}).get("S"),
            result=item.get(layout.data_attr, {}).get("S"),
        )
