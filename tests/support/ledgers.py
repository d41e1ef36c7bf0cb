"""A run and a DynamoDB ledger for the contract of ledgers."""

import uuid

from fanfold._ports.run import Run
from fanfold.aws.dynamodb import DynamoDBLedger

RUN = Run(
    "run-1",
    "delays",
    params={"bucket": "b", "share": 0.1, "name": "naïve 日本語", "nested": [{"a": None}, [True, -1]]},
    plan={"type": "s3-lines", "etag": '"0123"', "size": 123_456_789_012, "header": ["a", "b ü"]},
    created_at=1767225600.123456,
    expires_at=4_102_444_800,
)


async def dynamodb_ledger(client) -> DynamoDBLedger:
    table = f"ledger-{uuid.uuid4().hex}"
    await client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    return DynamoDBLedger(client, table)
