"""DynamoDB tables to be read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from aiobotocore.parsers import AioJSONParser, AioResponseParserFactory
from aiobotocore.session import AioSession
from boto3.dynamodb.types import Binary, TypeDeserializer, TypeSerializer

from fanfold._ports.stores import Page, TableInfo
from fanfold.aws.faults import faults_of
from fanfold.errors import ConfigurationError

_OPTIONS: Final = {
    "index": "IndexName",
    "filter": "FilterExpression",
    "consistent": "ConsistentRead",
    "page_items": "Limit",
}


_RAW: Final = frozenset({"AttributeMap", "Key"})
"""The SDK's names for items and their keys."""


class _ToPlain(TypeDeserializer):  # type: ignore[misc] # boto3 has no types
    """DynamoDB's JSON as Python's own values: binaries are bytes."""

    def _deserialize_b(self, value: str | bytes) -> bytes:
        return value if isinstance(value, bytes) else base64.b64decode(value)


class _RawItems(AioJSONParser):  # type: ignore[misc] # no types
    """Leaves items as the JSON they came in: ``_ToPlain`` walks through them anyway, and the SDK's walk is slow."""

    def _handle_map(self, shape: Any, value: Any) -> Any:
        return value if shape.name in _RAW else super()._handle_map(shape, value)


class _Parsers(AioResponseParserFactory):  # type: ignore[misc] # no types
    def create_parser(self, protocol_name: str) -> Any:
        if protocol_name == "json":
            return _RawItems(**self._defaults)
        return super().create_parser(protocol_name)


def with_raw_items(session: AioSession) -> AioSession:
    """Have the clients of a session leave DynamoDB's items as JSON, with binaries in base64."""
    session.register_component("response_parser_factory", _Parsers())
    return session


class DynamoDBTables:
    """Tables in DynamoDB, over an aiobotocore client; a faster one if its session is one ``with_raw_items``."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._to_plain = _ToPlain().deserialize

    async def describe(self, table: str, index: str | None = None) -> TableInfo:
        """Return what is known of a table or of one of its indexes."""
        with faults_of(f"table {table}"):
            answer = await self._client.describe_table(TableName=table)
        told = answer["Table"]
        keys = [key["AttributeName"] for key in told["KeySchema"]]
        if index is not None:
            indexes = [*told.get("GlobalSecondaryIndexes", []), *told.get("LocalSecondaryIndexes", [])]
            known = {each["IndexName"]: each for each in indexes}
            if index not in known:
                raise ConfigurationError(f"table {table}: has no index {index!r}; it has {', '.join(known) or 'none'}")
            told = known[index]
            keys = list(dict.fromkeys([*keys, *(key["AttributeName"] for key in told["KeySchema"])]))
        return TableInfo(keys, told.get("IndexSizeBytes", told.get("TableSizeBytes", 0)), told.get("ItemCount", 0))

    async def scan(self, wanted: Mapping[str, Any], start: Mapping[str, Any] | None) -> Page:
        """Return a page of a segment of a scan."""
        with faults_of(f"table {wanted['table']}"):
            answer = await self._client.scan(**_request(wanted, start))
        plain = self._to_plain
        return Page(
            items=[
                {name: value["S"] if "S" in value else plain(value) for name, value in item.items()}  # most are texts
                for item in answer.get("Items", [])
            ],
            next=_to_json(answer["LastEvaluatedKey"]) if answer.get("LastEvaluatedKey") else None,
            read_units=answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0),
        )

    def to_json(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return plain Python values in DynamoDB's JSON."""
        to_typed, typed = TypeSerializer().serialize, {}
        for name, value in values.items():
            try:
                typed[name] = to_typed(value)
            except (TypeError, ArithmeticError) as error:
                raise ConfigurationError(f"DynamoDB has no type for {name} = {value!r}: {error}") from error
        return cast("Mapping[str, Any]", _to_json(typed))


def _request(wanted: Mapping[str, Any], start: Mapping[str, Any] | None) -> dict[str, Any]:
    request = {
        "TableName": wanted["table"],
        "TotalSegments": wanted["segments"],
        "Segment": wanted["segment"],
        "ReturnConsumedCapacity": "TOTAL",
        **{option: wanted[name] for name, option in _OPTIONS.items() if name in wanted},
    }
    names: dict[str, str] = dict(wanted.get("names", {}))
    if attributes := wanted.get("attributes"):
        placeholders = {f"#fanfold{number}": name for number, name in enumerate(attributes)}
        request["ProjectionExpression"] = ", ".join(placeholders)
        names |= placeholders
    if names:
        request["ExpressionAttributeNames"] = names
    if values := wanted.get("values"):
        request["ExpressionAttributeValues"] = _from_json(values)
    if start is not None:
        request["ExclusiveStartKey"] = _from_json(start)
    return request


def _to_json(typed: Any) -> Any:
    """Return DynamoDB's JSON as the SDK has it with what is no JSON, binaries and sets, turned into texts and lists."""
    if isinstance(typed, Mapping):
        return {name: _to_json(value) for name, value in typed.items()}
    if isinstance(typed, bytes | bytearray | Binary):
        return base64.b64encode(bytes(typed)).decode()
    if isinstance(typed, Sequence | set | frozenset) and not isinstance(typed, str):
        return [_to_json(each) for each in typed]
    return typed


def _from_json(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``_to_json`` was given."""
    return {name: _value_from_json(value) for name, value in typed.items()}


def _value_from_json(typed: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, value),) = typed.items()
    if kind == "B":
        return {kind: base64.b64decode(value)}
    if kind == "BS":
        return {kind: [base64.b64decode(each) for each in value]}
    if kind == "L":
        return {kind: [_value_from_json(each) for each in value]}
    if kind == "M":
        return {kind: _from_json(value)}
    return dict(typed)
