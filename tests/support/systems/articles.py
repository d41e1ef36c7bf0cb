"""System 1: a table of items with 15 fields on the emulated DynamoDB, for ``examples/table_count`` to count."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import anyio

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "table_count"
PARAMETERS: Final = {"FunctionTimeout": "120", "HandlerModule": "app"}
FIELDS, SEGMENTS = 15, 16
_WRITE_ITEMS, _WRITERS = 25, 8


async def fill(client_settings: dict[str, str], table: str, items: int) -> None:
    """Create a table with a number of items."""
    from aiobotocore.session import get_session

    async with get_session().create_client("dynamodb", **client_settings) as client:
        await client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "item_no", "AttributeType": "N"}],
            KeySchema=[{"AttributeName": "item_no", "KeyType": "HASH"}],
        )
        slots = anyio.CapacityLimiter(_WRITERS)

        async def write(first: int) -> None:
            async with slots:
                numbers = range(first, min(first + _WRITE_ITEMS, items))
                entries = [{"PutRequest": {"Item": item(number)}} for number in numbers]
                await client.batch_write_item(RequestItems={table: entries})

        async with anyio.create_task_group() as writers:
            for first in range(0, items, _WRITE_ITEMS):
                writers.start_soon(write, first)


def item(number: int) -> dict[str, Any]:
    """Return an item in DynamoDB's JSON."""
    fields = {f"field_{n}": {"S": f"value {n} of item {number}"} for n in range(FIELDS - 1)}
    return {"item_no": {"N": str(number)}, **fields}


async def items_of(client_settings: dict[str, str], table: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the items of a table in DynamoDB's JSON."""
    from aiobotocore.session import get_session

    async with get_session().create_client("dynamodb", **client_settings) as client:
        async for page in client.get_paginator("scan").paginate(TableName=table):
            for stored_item in page["Items"]:
                yield stored_item
