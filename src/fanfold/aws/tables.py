"""DynamoDB tables as a source: describe and scan."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from aiobotocore.parsers import AioJSONParser, AioResponseParserFactory
from aiobotocore.session import AioSession
from boto3.dynamodb.types import Binary

from fanfold._ports.stores import Page, TableInfo
from fanfold.aws.attribute_values import FAULTS, ToPlain, ToTyped, number_of, undecodable
from fanfold.aws.fast_calls import call
from fanfold.aws.faults import map_errors
from fanfold.errors import ConfigurationError, SourceError

_OPTIONS: Final = {
    "index": "IndexName",
    "filter": "FilterExpression",
    "consistent": "ConsistentRead",
    "page_items": "Limit",
}


_RAW: Final = frozenset({"AttributeMap", "Key"})
"""The SDK's names for items and their keys."""


class _RawItems(AioJSONParser):  # type: ignore[misc] # no types
    """A response parser that leaves items as JSON: ``ToPlain`` converts them, and the SDK's parsing is slow."""

    def _handle_map(self, shape: Any, value: Any) -> Any:
        return value if shape.name in _RAW else super()._handle_map(shape, value)


class _Parsers(AioResponseParserFactory):  # type: ignore[misc] # no types
    def create_parser(self, protocol_name: str) -> Any:
        if protocol_name == "json":
            return _RawItems(**self._defaults)
        return super().create_parser(protocol_name)


def with_raw_items(session: AioSession) -> AioSession:
    """Make the clients of a session leave DynamoDB's items as JSON, with binaries in base64."""
    session.register_component("response_parser_factory", _Parsers())
    return session


class DynamoDBTables:
    """Tables in DynamoDB, over an aiobotocore client; faster if its session was set up by ``with_raw_items``."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._to_plain = ToPlain()

    async def describe(self, table: str, index: str | None = None) -> TableInfo:
        """Return the keys, the size in bytes and the item count of a table or of one of its indexes."""
        with map_errors(f"table {table}"):
            response = await self._client.describe_table(TableName=table)
        description = response["Table"]
        keys = [key["AttributeName"] for key in description["KeySchema"]]
        if index is not None:
            indexes = [*description.get("GlobalSecondaryIndexes", []), *description.get("LocalSecondaryIndexes", [])]
            by_name = {description["IndexName"]: description for description in indexes}
            if index not in by_name:
                raise ConfigurationError(
                    f"table {table}: has no index {index!r}; it has {', '.join(by_name) or 'none'}"
                )
            description = by_name[index]
            keys = list(dict.fromkeys([*keys, *(key["AttributeName"] for key in description["KeySchema"])]))
        return TableInfo(
            keys,
            description.get("IndexSizeBytes", description.get("TableSizeBytes", 0)),
            description.get("ItemCount", 0),
        )

    async def scan(self, query: Mapping[str, Any], start: Mapping[str, Any] | None) -> Page:
        """Return one page of a scan segment.

        Raises:
            SourceError: If an item cannot be decoded; names the table, the key, and the attribute.
        """
        with map_errors(f"table {query['table']}"):
            response = await call(self._client, "scan", query["table"], _request(query, start))
        return Page(
            items=[self._item(item, query) for item in response.get("Items", [])],
            next=_to_json(response["LastEvaluatedKey"]) if response.get("LastEvaluatedKey") else None,
            read_units=response.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0),
        )

    def _item(self, item: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, Any]:
        plain = self._to_plain.deserialize
        try:
            return {  # most values are strings and numbers
                name: value["S"] if "S" in value else number_of(value["N"]) if "N" in value else plain(value)
                for name, value in item.items()
            }
        except FAULTS as error:
            key = {name: item[name] for name in query.get("keys", ()) if name in item}
            problem = undecodable(item, self._to_plain) or error
            raise SourceError(f"table {query['table']}: item {json.dumps(key, default=str)}: {problem}") from error

    def to_json(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Convert Python values to DynamoDB's JSON."""
        to_typed, typed = ToTyped().serialize, {}
        for name, value in values.items():
            try:
                typed[name] = to_typed(value)
            except (TypeError, ArithmeticError) as error:
                raise ConfigurationError(f"DynamoDB has no type for {name} = {value!r}: {error}") from error
        return cast("Mapping[str, Any]", _to_json(typed))


def _request(query: Mapping[str, Any], start: Mapping[str, Any] | None) -> dict[str, Any]:
    request = {
        "TableName": query["table"],
        "TotalSegments": query["segments"],
        "Segment": query["segment"],
        "ReturnConsumedCapacity": "TOTAL",
        **{option: query[name] for name, option in _OPTIONS.items() if name in query},
    }
    names: dict[str, str] = dict(query.get("names", {}))
    if attributes := query.get("attributes"):
        placeholders = {f"#fanfold{number}": name for number, name in enumerate(attributes)}
        request["ProjectionExpression"] = ", ".join(placeholders)
        names |= placeholders
    if names:
        request["ExpressionAttributeNames"] = names
    if values := query.get("values"):
        request["ExpressionAttributeValues"] = _from_json(values)
    if start is not None:
        request["ExclusiveStartKey"] = _from_json(start)
    return request


def _to_json(typed: Any) -> Any:
    """Convert the SDK's typed values to JSON: binaries become base64, and sets become lists."""
    if isinstance(typed, Mapping):
        return {name: _to_json(value) for name, value in typed.items()}
    if isinstance(typed, bytes | bytearray | Binary):
        return base64.b64encode(bytes(typed)).decode()
    if isinstance(typed, Sequence | set | frozenset) and not isinstance(typed, str):
        return [_to_json(value) for value in typed]
    return typed


def _from_json(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Reverse ``_to_json``."""
    return {name: _value_from_json(value) for name, value in typed.items()}


def _value_from_json(typed: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, value),) = typed.items()
    if kind == "B":
        return {kind: base64.b64decode(value)}
    if kind == "BS":
        return {kind: [base64.b64decode(item) for item in value]}
    if kind == "L":
        return {kind: [_value_from_json(item) for item in value]}
    if kind == "M":
        return {kind: _from_json(value)}
    return dict(typed)
