"""System 1: a table of items with 15 fields on the emulated DynamoDB, for ``examples/table_count`` to count."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import anyio

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "table_count"
PARAMETERS: Final = {"FunctionTimeout": "120", "HandlerModule": "app"}
FIELDS, SEGMENTS = 15, 16
_BUCKET = "table-imports"


async def fill(client_settings: dict[str, str], table: str, items: int) -> None:
    """Create a table with a number of items, by DynamoDB's import from S3: half the time of writing them in batches."""
    from aiobotocore.session import get_session

    key = [{"AttributeName": "item_no", "KeyType": "HASH"}]
    numbers = [{"AttributeName": "item_no", "AttributeType": "N"}]
    lines = "\n".join(json.dumps({"Item": item(number)}) for number in range(items))
    create_client = get_session().create_client
    async with create_client("s3", **client_settings) as s3, create_client("dynamodb", **client_settings) as dynamodb:
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            await s3.create_bucket(Bucket=_BUCKET)
        await s3.put_object(Bucket=_BUCKET, Key=f"{table}/items.json", Body=lines.encode())
        response = await dynamodb.import_table(
            S3BucketSource={"S3Bucket": _BUCKET, "S3KeyPrefix": f"{table}/"},
            InputFormat="DYNAMODB_JSON",
            TableCreationParameters={
                "TableName": table,
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": numbers,
                "KeySchema": key,
            },
        )
        description = response["ImportTableDescription"]
        while description["ImportStatus"] == "IN_PROGRESS":
            await anyio.sleep(0.1)
            response = await dynamodb.describe_import(ImportArn=description["ImportArn"])
            description = response["ImportTableDescription"]
    if description["ImportStatus"] != "COMPLETED" or description["ImportedItemCount"] != items:
        raise RuntimeError(f"table {table} was not filled: {description}")


def item(number: int) -> dict[str, Any]:
    """Return an item in DynamoDB's JSON."""
    fields = {f"field_{n}": {"S": f"{n} of {number}"} for n in range(FIELDS - 1)}
    return {"item_no": {"N": str(number)}, **fields}


async def items_of(client_settings: dict[str, str], table: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the items of a table in DynamoDB's JSON."""
    from aiobotocore.session import get_session

    async with get_session().create_client("dynamodb", **client_settings) as client:
        async for page in client.get_paginator("scan").paginate(TableName=table):
            for stored_item in page["Items"]:
                yield stored_item
