"""Contract of batch writes, for in-memory tables and for DynamoDB."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from aiobotocore.session import get_session

from fanfold._ports.stores import ItemStore, Write
from fanfold._stack.emulator import LocalStack
from fanfold.aws import writer
from fanfold.aws.attribute_values import ToPlain
from fanfold.aws.backend import config_of
from fanfold.aws.writer import DynamoDBItems
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryItems
from fanfold.sinks import BatchWriter
from on_aws import AWS

MANY = {
    "text": '日本 \n"',
    "empty": "",
    "whole": 7,
    "exact": Decimal("-1.10"),
    "smallest": Decimal("1E-130"),
    "largest": Decimal("9.9999999999999999999999999999999999999E+125"),
    "yes": True,
    "nothing": None,
    "bytes": b"\x00\xff",
    "list": [1, "a", [None], {}],
    "map": {"名": {"a": [Decimal("0.1")]}},
    "texts": {"a", "b"},
    "numbers": {1, Decimal("2.5")},
}


@dataclass(frozen=True)
class Table:
    """One table with the keys ``pk`` and ``sk``."""

    items: ItemStore
    name: str
    all: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]

    async def write(self, *writes: Write) -> None:
        assert not await self.items.write_batch(self.name, writes)


def put(number: int, **values: Any) -> Write:
    key = {"pk": "p", "sk": number}
    return Write(key, {**key, **values})


@pytest.fixture(params=["in-process", AWS])
async def table(request) -> AsyncIterator[Table]:
    name = f"table-{uuid.uuid4().hex}"
    if request.param == "in-process":
        items = InMemoryItems()

        async def stored() -> Sequence[Mapping[str, Any]]:
            return list(items.tables.get(name, {}).values())

        yield Table(items, name, stored)
        return
    request.getfixturevalue("aws")
    async with get_session().create_client("dynamodb", verify=False, config=config_of("dynamodb")) as client:
        await client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "N"},
            ],
        )

        async def scanned() -> Sequence[Mapping[str, Any]]:
            scanned_items = (await client.scan(TableName=name, ConsistentRead=True))["Items"]
            return [{key: ToPlain().deserialize(value) for key, value in item.items()} for item in scanned_items]

        yield Table(DynamoDBItems(client), name, scanned)


def sorted_items(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(items, key=lambda item: item["sk"])


async def test_an_item_is_stored_unchanged(table):
    """A read returns values of every type as they were written."""
    await table.write(put(1, **MANY))
    (item,) = await table.all()
    assert {**item, "bytes": bytes(item["bytes"])} == {"pk": "p", "sk": 1, **MANY}


async def test_a_batch_can_have_25_puts_and_deletes(table):
    """One call can put and delete items; deleting a missing item is not an error."""
    await table.write(*[put(number) for number in range(25)])
    deleted = [Write({"pk": "p", "sk": number}, None) for number in (3, 4, 99)]
    await table.write(*deleted, put(5, new=True))
    stored_items = sorted_items(await table.all())
    assert [item["sk"] for item in stored_items] == [number for number in range(25) if number not in {3, 4}]
    assert stored_items[3] == {"pk": "p", "sk": 5, "new": True}


async def test_a_put_replaces_the_whole_item(table):
    """No attribute of the first write remains."""
    await table.write(put(1, first=1))
    await table.write(put(1, second=2))
    assert await table.all() == [{"pk": "p", "sk": 1, "second": 2}]


@pytest.mark.parametrize("writes", [[put(1), put(1, other=True)], [put(number) for number in range(26)], []])
async def test_an_invalid_batch_is_refused_as_a_whole(table, writes):
    """A repeated key, more than 25 writes, or no writes raise a permanent error, and nothing is written."""
    with pytest.raises(ServiceError) as raised:
        await table.items.write_batch(table.name, writes)
    assert raised.value.transient is False
    assert await table.all() == []


async def test_a_writer_applies_all_writes_in_order(table):
    """Each item ends in the state of its last put or delete."""
    async with BatchWriter(table.items, table.name, key=["pk", "sk"]) as items:
        for number in range(230):
            await items.put({"pk": "p", "sk": number, "round": 1})
        for number in range(0, 230, 2):
            await items.put({"pk": "p", "sk": Decimal(number), "round": 2})
        for number in range(0, 230, 3):
            await items.delete({"pk": "p", "sk": number})
    stored_items = {int(item["sk"]): int(item["round"]) for item in await table.all()}
    assert stored_items == {number: 2 - number % 2 for number in range(230) if number % 3}


@pytest.mark.stack
async def test_a_missing_table_is_an_error_that_names_it(aws: LocalStack):
    """A write to a missing table raises a configuration error."""
    async with writer.connect(verify=False) as items:
        with pytest.raises(ConfigurationError, match="table no-such-table: does not exist"):
            await items.write_batch("no-such-table", [put(1)])


@pytest.mark.stack
async def test_no_response_is_a_transient_error(aws: LocalStack):
    """A refused connection raises a transient service error."""
    async with writer.connect(endpoint_url="http://127.0.0.1:9", verify=False) as items:
        with pytest.raises(ServiceError) as raised:
            await items.write_batch("table", [put(1)])
    assert raised.value.transient is True


async def respond_with_unprocessed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, renamed: bool) -> None:
    """Respond to BatchWriteItem with every second request as unprocessed."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    (sent,) = json.loads(await reader.readexactly(length))["RequestItems"].values()
    unprocessed = sent[1::2]
    if renamed:  # the key of the request in another number format
        unprocessed = [{"DeleteRequest": {"Key": {"pk": {"S": "p"}, "sk": {"N": "1.0"}}}}]
    body = json.dumps({"UnprocessedItems": {"table": unprocessed}}).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    writer.write(body)
    writer.close()


@pytest.mark.parametrize(("renamed", "unprocessed"), [(False, {1, 3}), (True, {0, 1, 2, 3})])
async def test_unprocessed_writes_are_returned_by_position(renamed, unprocessed):
    """Unprocessed puts and deletes are identified by key; if a key is unknown, all positions are returned."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    respond = partial(respond_with_unprocessed, renamed=renamed)
    writes = [put(0), put(1), put(2), Write({"pk": "p", "sk": 3}, None)]
    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with writer.connect(endpoint_url=url, verify=False, **credentials) as items:
            assert set(await items.write_batch("table", writes)) == unprocessed
