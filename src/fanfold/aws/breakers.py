"""The shared state of breakers in a DynamoDB table with the key of Powertools' circuit breaker: ``id``."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import anyio

from fanfold._base.backoff import Backoff
from fanfold._ports.breakers import COUNT_SECONDS, UNREADABLE, Circuit, Held
from fanfold.aws import breaker_items as items
from fanfold.aws.clients import client_of
from fanfold.aws.fast_calls import call
from fanfold.aws.faults import is_conditional_check, map_errors
from fanfold.aws.ledger_items import number as as_number
from fanfold.errors import ConfigurationError, ServiceError

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 1,
    "read_timeout": 2,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
"""A table that cannot be reached must not hold an invocation."""
_EXPIRY_SECONDS: Final = 14 * 86_400
"""How long a circuit is kept after its last change; the longest retention of a queue."""
_ATTEMPTS: Final = 4
"""Attempts of a call that another write, or the table's throughput, was in the way of."""
_BACKOFF: Final = Backoff(base=0.02, cap=0.2, jitter=1.0)
_CONFLICTS: Final = frozenset(
    {"TransactionConflictException", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"}
)
"""Error codes, and codes of the reasons why a transaction was cancelled, after which a repeated call may succeed."""
_INVALID: Final = "ValidationException"
_REFUSED: Final = "ConditionalCheckFailed"
"""The code of the reason that a condition of a transaction was not met."""


@asynccontextmanager
async def open_breakers(table: str, **client: Any) -> AsyncIterator[DynamoDBBreakers]:
    """Open the table with a separate client; by default, credentials, region and endpoint are the SDK's usual ones.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("dynamodb", "DynamoDB", _CONFIG, **client) as dynamodb:
        yield DynamoDBBreakers(dynamodb, table)


class DynamoDBBreakers:
    """Circuits and pages in a DynamoDB table, over an aiobotocore client.

    Functions that use Powertools' circuit breaker can share the table: the circuit of a name is theirs, too.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    async def read(self, names: Sequence[str]) -> Sequence[Circuit]:
        """Return the circuits of 1 to 50 names, in this order."""
        keys = [key for name in dict.fromkeys(names) for key in (items.key(name), items.own_key(name))]
        by_key = {item[items.KEY]["S"]: item for item in await self._get(keys)}
        with self._readable():
            return [items.circuit_of(by_key.get(name), by_key.get(name + items.OWN_SUFFIX)) for name in names]

    async def change(self, name: str, before: Circuit, after: Circuit) -> bool:
        """Replace the state of a circuit, unless it has changed since it was read."""
        expires_at = int(time.time()) + _EXPIRY_SECONDS
        after = after._replace(version=before.version + 1)
        writes = [self._own_update(name, before, after, expires_at), self._shared_put(name, before, after, expires_at)]
        try:
            await self._call("transact_write_items", TransactItems=writes)
        except ServiceError as error:
            if _REFUSED not in _reasons(error):
                raise
            return False
        return True

    async def count_failures(self, name: str, failures: int, now: float) -> Circuit:
        """Add failures to those of the current interval; return the circuit after it."""
        interval = int(now // COUNT_SECONDS)
        # Another environment, whose clock is ahead, may have begun the next interval.
        current = "#interval BETWEEN :interval AND :next"
        values = {":failures": as_number(failures), ":interval": as_number(interval), ":next": as_number(interval + 1)}
        add = "ADD #failures :failures SET #expiration = :expiration", current
        begin = (
            "SET #failures = :failures, #interval = :interval, #expiration = :expiration",
            f"attribute_not_exists(#interval) OR NOT ({current})",
        )
        for update, condition in (add, begin, add):  # the last one if another environment has begun the interval
            circuit = await self._update(name, update, values, condition)
            if circuit is not None and not circuit.is_closed:
                (circuit,) = await self.read([name])  # Powertools may have closed it
            if circuit is not None:
                return circuit
        raise ServiceError(
            f"table {self._table}: the failures of breaker {name!r} cannot be counted: its interval keeps changing",
            code="ConditionalCheckFailedException",
            transient=True,
        )

    async def add_page(self, name: str, held: Sequence[Held], expires_at: float) -> Circuit:
        """Store messages as the next page; return the circuit as it is after that."""
        for _ in range(_ATTEMPTS):
            reserved = await self._update(name, "ADD #pages :one SET #expiration = :expiration", {":one": as_number(1)})
            page = 0 if reserved is None else reserved.pages
            await self._call("put_item", TableName=self._table, Item=items.page_item(name, page, held, expires_at))
            (circuit,) = await self.read([name])
            # If all pages were released and the circuit is open again, nobody looks at this page any more.
            if circuit.is_closed or circuit.released < page:
                return circuit
        raise ServiceError(
            f"table {self._table}: no page of breaker {name!r} can be added: it keeps closing and opening",
            code="ConditionalCheckFailedException",
            transient=True,
        )

    async def page(self, name: str, number: int) -> Sequence[Held]:
        """Return the messages of a page; empty if it does not exist."""
        stored = await self._get([items.page_key(name, number)])
        with self._readable():
            return [message for item in stored for message in items.messages_of(item)]

    async def released(self, name: str, number: int) -> None:
        """Note that the messages of a page, and of all before it, are visible; delete the page."""
        await self._update(
            name,
            "SET #released = :page, #expiration = :expiration",
            {":page": as_number(number)},
            "#pages >= :page AND (attribute_not_exists(#released) OR #released < :page)",
        )
        await self._call("delete_item", TableName=self._table, Key=items.page_key(name, number))

    async def names(self) -> Sequence[str]:
        """Return the names of all breakers in the table, sorted; reads the whole table."""
        names: set[str] = set()
        request: dict[str, Any] = {
            "TableName": self._table,
            "ProjectionExpression": "#id",
            "FilterExpression": "attribute_exists(#id) AND attribute_exists(#state)",
            "ExpressionAttributeNames": {"#id": items.KEY, "#state": "state"},
        }
        while True:
            response = await self._call("scan", **request)
            names |= {item[items.KEY]["S"].removesuffix(items.OWN_SUFFIX) for item in response.get("Items", [])}
            if not response.get("LastEvaluatedKey"):
                return sorted(names)
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    def _own_update(self, name: str, before: Circuit, after: Circuit, expires_at: int) -> Mapping[str, Any]:
        attributes = {**items.own_attributes(after), "expiration": as_number(expires_at)}
        update = "SET " + ", ".join(f"#{attribute} = :{attribute}" for attribute in attributes)
        values = {f":{attribute}": value for attribute, value in attributes.items()}
        condition = "attribute_not_exists(#version)"
        if before.version:
            condition, values[":before"] = "#version = :before", as_number(before.version)
        return {"Update": self._write(update, condition, values, Key=items.own_key(name), UpdateExpression=update)}

    def _shared_put(self, name: str, before: Circuit, after: Circuit, expires_at: int) -> Mapping[str, Any]:
        item = items.shared_item(name, after, expires_at)
        if before.forced:  # what a person has decided, another program does not change
            return {"Put": {"TableName": self._table, "Item": item}}
        condition, values = items.is_unchanged(before)
        return {"Put": self._write("", condition, values, Item=item)}

    def _write(self, update: str, condition: str, values: Mapping[str, Any], **rest: Any) -> Mapping[str, Any]:
        return {
            "TableName": self._table,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": _names_in(f"{update} {condition}"),
            "ExpressionAttributeValues": values,
            **rest,
        }

    async def _update(self, name: str, update: str, values: Mapping[str, Any], condition: str = "") -> Circuit | None:
        """Update the circuit's item, and its expiry; return the circuit, or None if the condition is not met."""
        text = f"{update} {condition}"
        used = {":expiration": as_number(int(time.time()) + _EXPIRY_SECONDS), **values}
        request: dict[str, Any] = {
            "UpdateExpression": update,
            "ExpressionAttributeNames": _names_in(text),
            "ExpressionAttributeValues": {value: used[value] for value in re.findall(r":\w+", text)},
            "ReturnValues": "ALL_NEW",
        }
        if condition:
            request["ConditionExpression"] = condition
        try:
            response = await self._call("update_item", TableName=self._table, Key=items.own_key(name), **request)
        except ServiceError as error:
            if is_conditional_check(error):
                return None
            if error.code != _INVALID:
                raise
            raise ServiceError(
                f"{error}: item {name + items.OWN_SUFFIX!r} cannot be updated; correct it, or delete it",
                code=UNREADABLE,
                transient=False,
            ) from error
        with self._readable():
            return items.circuit_of(None, response["Attributes"])

    async def _get(self, keys: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return the items with these keys, where they exist, by consistent reads."""
        stored: list[Mapping[str, Any]] = []
        for failures in range(1, _ATTEMPTS + 1):
            request = {"Keys": keys, "ConsistentRead": True}
            response = await self._call("batch_get_item", RequestItems={self._table: request})
            stored += [item for of_table in response.get("Responses", {}).values() for item in of_table]
            keys = [key for rest in (response.get("UnprocessedKeys") or {}).values() for key in rest["Keys"]]
            if not keys:
                return stored
            await anyio.sleep(_BACKOFF.next_delay(failures))
        raise ServiceError(
            f"table {self._table}: DynamoDB did not return {len(keys)} items: the table is throttled",
            code="UnprocessedKeys",
            transient=True,
        )

    async def _call(self, operation: str, **arguments: Any) -> Any:
        """Call DynamoDB; repeat the call if another write to the same item was in its way."""
        failures = 0
        while True:
            try:
                with map_errors(f"table {self._table}"):
                    return await call(self._client, operation, self._table, arguments)
            except ServiceError as error:
                failures += 1
                if error.code == _INVALID and re.search("schema|[Kk]ey element", str(error)):
                    raise ConfigurationError(
                        f"table {self._table}: its key is not the one of a table of breakers: it must have the "
                        "partition key id, a string, and no sort key"
                    ) from error
                if failures == _ATTEMPTS or not _may_succeed(error):
                    raise
            await anyio.sleep(_BACKOFF.next_delay(failures))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except items.UnreadableItemError as error:
            raise ServiceError(
                f"table {self._table}: {error}; correct the attribute, or delete the item",
                code=UNREADABLE,
                transient=False,
            ) from error


def _may_succeed(error: ServiceError) -> bool:
    """Return whether only another write was in the way of a call."""
    codes = {error.code, *_reasons(error)}
    return bool(_CONFLICTS & codes) and _REFUSED not in codes


def _reasons(error: ServiceError) -> Sequence[str]:
    """Return the codes of the reasons why a transaction was cancelled; empty for any other error."""
    response = getattr(error.__cause__, "response", None) or {}  # None if there was no response
    return [str(reason.get("Code")) for reason in response.get("CancellationReasons", [])]


def _names_in(expressions: str) -> dict[str, str]:
    return {f"#{name}": name for name in re.findall(r"#(\w+)", expressions)}
