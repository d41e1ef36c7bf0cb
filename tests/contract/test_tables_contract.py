"""Contract of tables for scans, for in-memory tables and for DynamoDB."""

import json
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiobotocore.session import get_session

from fanfold._ports.stores import Page, Tables
from fanfold.aws.backend import config_of
from fanfold.aws.tables import DynamoDBTables, with_raw_items
from fanfold.errors import ConfigurationError, ServiceError
from fanfold.inmemory import InMemoryTables
from fanfold.sources.dynamodb_scan import DynamoDBScan
from on_aws import AWS

ITEMS = [{"pk": f"member-{n % 7}", "n": Decimal(n), "name": "佐藤", "raw": bytes([n, 255])} for n in range(60)]
RAW = pytest.param("aws, raw items", marks=pytest.mark.stack)


@pytest.fixture(params=["in-process", AWS, RAW])
async def tables(request) -> AsyncIterator[tuple[Tables, str]]:
    name = f"members-{uuid.uuid4().hex}"
    if request.param == "in-process":
        yield InMemoryTables(**{name: (["pk", "n"], ITEMS)}), name
        return
    request.getfixturevalue("aws")
    session = with_raw_items(get_session()) if request.param == "aws, raw items" else get_session()
    async with session.create_client("dynamodb", verify=False, config=config_of("dynamodb")) as client:
        await client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": attribute, "AttributeType": kind}
                for attribute, kind in (("pk", "S"), ("n", "N"), ("raw", "B"))
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-raw",
                    "KeySchema": [{"AttributeName": "raw", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        for item in ITEMS:
            typed = {"pk": {"S": item["pk"]}, "n": {"N": str(item["n"])}}
            typed |= {"name": {"S": item["name"]}, "raw": {"B": item["raw"]}}
            await client.put_item(TableName=name, Item=typed)
        yield DynamoDBTables(client), name


def in_order(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: item["n"])


async def pages_of(tables: Tables, **query: Any) -> list[Page]:
    """Return every page of one segment; the query and each start key go through JSON."""
    pages, start = [], None
    while True:
        page = await tables.scan(json.loads(json.dumps(query)), start)
        pages.append(page)
        if page.next is None:
            return pages
        start = json.loads(json.dumps(page.next))


@pytest.mark.parametrize("segments", [1, 2, 5, 200])
async def test_all_segments_together_contain_every_item_once(tables, segments):
    """This holds for any number of segments; items have Python values."""
    port, name = tables
    items = [
        item
        for segment in range(segments)
        for page in await pages_of(port, table=name, segment=segment, segments=segments)
        for item in page.items
    ]
    assert in_order(items) == ITEMS


async def test_the_page_size_does_not_change_the_items(tables):
    """A page has at most ``page_items`` items, and the next page continues after it."""
    port, name = tables
    for page_items in (1, 7, 60, 61):
        pages = await pages_of(port, table=name, segment=0, segments=1, page_items=page_items)
        assert in_order([item for page in pages for item in page.items]) == ITEMS
        assert all(len(page.items) <= page_items for page in pages)
        assert all(page.read_units > 0 for page in pages)


async def test_a_scan_can_select_attributes(tables):
    """DynamoDB may reserve their names, such as ``name``."""
    port, name = tables
    (page,) = await pages_of(port, table=name, segment=0, segments=1, attributes=["name", "n"])
    assert in_order(list(page.items)) == [{"name": item["name"], "n": item["n"]} for item in ITEMS]


async def test_a_scan_can_resume_after_any_item(tables):
    """It resumes from the key that the source stores, without repeating or skipping an item."""
    port, name = tables
    info = await port.describe(name)
    assert list(info.keys) == ["pk", "n"]
    (whole,) = await pages_of(port, table=name, segment=0, segments=1)
    for number, item in enumerate(whole.items):
        start = json.loads(json.dumps(DynamoDBScan.rest({"keys": info.keys}, item)["start"]))
        rest = await port.scan({"table": name, "segment": 0, "segments": 1}, start)
        assert list(rest.items) == list(whole.items[number + 1 :])


async def test_a_missing_table_is_an_error_that_names_it(tables):
    """``describe`` raises before anything is scanned."""
    port, _ = tables
    with pytest.raises(ConfigurationError, match="no-such-table"):
        await port.describe("no-such-table")


async def test_a_missing_index_is_an_error_that_names_it(tables):
    """The error names the index."""
    port, name = tables
    with pytest.raises(ConfigurationError, match="no-index"):
        await port.describe(name, "no-index")


@pytest.mark.parametrize("tables", [AWS, RAW], indirect=True)
async def test_a_scan_of_an_index_resumes_from_the_keys_of_index_and_table(tables):
    """Keys may be binary."""
    port, name = tables
    info = await port.describe(name, "by-raw")
    assert list(info.keys) == ["pk", "n", "raw"]
    (whole,) = await pages_of(port, table=name, index="by-raw", segment=0, segments=1)
    assert in_order(list(whole.items)) == ITEMS
    start = json.loads(json.dumps(DynamoDBScan.rest({"keys": info.keys}, whole.items[29])["start"]))
    rest = await port.scan({"table": name, "index": "by-raw", "segment": 0, "segments": 1}, start)
    assert list(rest.items) == list(whole.items[30:])


@pytest.mark.parametrize("tables", [AWS, RAW], indirect=True)
async def test_a_filter_excludes_other_items(tables):
    """Filter values of any type go through JSON."""
    port, name = tables
    values = json.loads(json.dumps(port.to_json({":least": 30, ":raw": b"\x1f\xff", ":part": "藤"})))
    expression = "#n >= :least AND #raw <> :raw AND contains(#name, :part)"
    pages = await pages_of(
        port,
        table=name,
        segment=0,
        segments=1,
        filter=expression,
        names={"#n": "n", "#raw": "raw", "#name": "name"},
        values=values,
        attributes=["n"],
    )
    assert in_order([item for page in pages for item in page.items]) == [
        {"n": Decimal(n)} for n in (30, *range(32, 60))
    ]


@pytest.mark.parametrize("tables", [AWS, RAW], indirect=True)
async def test_an_invalid_filter_raises_the_error_of_dynamodb(tables):
    """The error is permanent."""
    port, name = tables
    with pytest.raises(ServiceError) as raised:
        await port.scan({"table": name, "segment": 0, "segments": 1, "filter": "n >>> 3"}, None)
    assert not raised.value.transient


@pytest.mark.parametrize("tables", [AWS, RAW], indirect=True)
async def test_a_value_without_a_dynamodb_type_is_an_error_that_names_it(tables):
    """The error is raised when the source is pinned, not in every segment."""
    port, _ = tables
    with pytest.raises(ConfigurationError, match=":x"):
        port.to_json({":x": object()})
    assert port.to_json({":x": [Decimal("1.5"), {"a": {b"\x00"}}]}) == {
        ":x": {"L": [{"N": "1.5"}, {"M": {"a": {"BS": ["AA=="]}}}]}
    }
