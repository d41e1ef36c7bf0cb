"""A run and a DynamoDB ledger for the contract of ledgers."""

import uuid

from fanfold._ports.run import Run
from fanfold.aws.dynamodb import DynamoDBLedger
from fanfold.aws.run_index import INDEX, PROJECTED

RUN = Run(
    "run-1",
    "delays",
    params={"bucket": "b", "share": 0.1, "name": "naïve 日本語", "nested": [{"a": None}, [True, -1]]},
    plan={"type": "s3-lines", "etag": '"0123"', "size": 123_456_789_012, "header": ["a", "b ü"]},
    created_at=1767225600.123456,
    expires_at=4_102_444_800,
)


async def dynamodb_ledger(client, *, lists_runs: bool = True) -> DynamoDBLedger:
    """Create a table as the template does; without the index of runs, as earlier releases did."""
    table = f"ledger-{uuid.uuid4().hex}"
    strings, numbers = ("pk", "sk"), ()
    index = {
        "IndexName": INDEX,
        "KeySchema": [
            {"AttributeName": "state", "KeyType": "HASH"},
            {"AttributeName": "created_at", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(PROJECTED)},
    }
    if lists_runs:
        strings, numbers = ("pk", "sk", "state"), ("created_at",)
    await client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            *({"AttributeName": name, "AttributeType": "S"} for name in strings),
            *({"AttributeName": name, "AttributeType": "N"} for name in numbers),
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        **({"GlobalSecondaryIndexes": [index]} if lists_runs else {}),
    )
    return DynamoDBLedger(client, table)
