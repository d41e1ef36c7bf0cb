"""What writing items in batches promises, asked of tables in this process and of those on AWS."""

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
from boto3.dynamodb.types import TypeDeserializer

from fanfold._ports.stores import ItemStore, Write
from fanfold._stack.emulator import LocalStack
from fanfold.aws import writer
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

        async def held() -> Sequence[Mapping[str, Any]]:
            return list(items.tables.get(name, {}).values())

        yield Table(items, name, held)
        return
    request.getfixturevalue("aws")
    async with get_session().create_client("dynamodb", verify=False) as client:
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
            found = (await client.scan(TableName=name, ConsistentRead=True))["Items"]
            return [{key: TypeDeserializer().deserialize(value) for key, value in item.items()} for item in found]

        yield Table(DynamoDBItems(client), name, scanned)


def sorted_items(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(items, key=lambda item: item["sk"])


async def test_an_item_is_there_as_it_was_written(table):
    """Values of every type come out as they went in."""
    await table.write(put(1, **MANY))
    (item,) = await table.all()
    assert {**item, "bytes": bytes(item["bytes"])} == {"pk": "p", "sk": 1, **MANY}


async def test_a_batch_holds_25_writes_of_both_kinds(table):
    """Items are written and deleted in one call; what is not there can be deleted too."""
    await table.write(*[put(number) for number in range(25)])
    deleted = [Write({"pk": "p", "sk": number}, None) for number in (3, 4, 99)]
    await table.write(*deleted, put(5, new=True))
    there = sorted_items(await table.all())
    assert [item["sk"] for item in there] == [number for number in range(25) if number not in {3, 4}]
    assert there[3] == {"pk": "p", "sk": 5, "new": True}


async def test_an_item_is_replaced_whole(table):
    """A second write leaves nothing of the first."""
    await table.write(put(1, first=1))
    await table.write(put(1, second=2))
    assert await table.all() == [{"pk": "p", "sk": 1, "second": 2}]


@pytest.mark.parametrize("writes", [[put(1), put(1, other=True)], [put(number) for number in range(26)], []])
async def test_what_no_batch_takes_is_refused_whole(table, writes):
    """One key twice, more than 25 writes, or none, are a fault that stays, and nothing of it is written."""
    with pytest.raises(ServiceError) as raised:
        await table.items.write_batch(table.name, writes)
    assert raised.value.transient is False
    assert await table.all() == []


async def test_a_writer_writes_what_it_is_given(table):
    """Items of any number, some of them twice and some of them deleted, end as they were left."""
    async with BatchWriter(table.items, table.name, key=["pk", "sk"]) as items:
        for number in range(230):
            await items.put({"pk": "p", "sk": number, "round": 1})
        for number in range(0, 230, 2):
            await items.put({"pk": "p", "sk": Decimal(number), "round": 2})
        for number in range(0, 230, 3):
            await items.delete({"pk": "p", "sk": number})
    there = {int(item["sk"]): int(item["round"]) for item in await table.all()}
    assert there == {number: 2 - number % 2 for number in range(230) if number % 3}


@pytest.mark.stack
async def test_a_table_that_is_not_there_is_named(aws: LocalStack):
    """Writing to a table that does not exist is a configuration error that names it."""
    async with writer.connect(verify=False) as items:
        with pytest.raises(ConfigurationError, match="table no-such-table: does not exist"):
            await items.write_batch("no-such-table", [put(1)])


@pytest.mark.stack
async def test_tables_that_do_not_answer_may_answer_later(aws: LocalStack):
    """A call that reaches nobody is a fault of the service that may pass."""
    async with writer.connect(endpoint_url="http://127.0.0.1:9", verify=False) as items:
        with pytest.raises(ServiceError) as raised:
            await items.write_batch("table", [put(1)])
    assert raised.value.transient is True


async def leave_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, renamed: bool) -> None:
    """Answer a BatchWriteItem with every second request left over."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    (sent,) = json.loads(await reader.readexactly(length))["RequestItems"].values()
    left = sent[1::2]
    if renamed:  # a key in another form than it was sent in
        left = [{"DeleteRequest": {"Key": {"pk": {"S": "p"}, "sk": {"N": "1.0"}}}}]
    body = json.dumps({"UnprocessedItems": {"table": left}}).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    writer.write(body)
    writer.close()


@pytest.mark.parametrize(("renamed", "left"), [(False, {1, 3}), (True, {0, 1, 2, 3})])
async def test_what_dynamodb_left_over_is_told_by_its_position(renamed, left):
    """Writes and deletions left over are found by their keys; where one cannot be told, all are to be sent again."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    answer = partial(leave_over, renamed=renamed)
    writes = [put(0), put(1), put(2), Write({"pk": "p", "sk": 3}, None)]
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with writer.connect(endpoint_url=url, verify=False, **credentials) as items:
            assert set(await items.write_batch("table", writes)) == left
