"""An idempotency table on the emulated AWS, for the benchmark and the tests."""

import uuid


def new_table(sort_key: str | None = None) -> str:
    """Create a table with the layout of Powertools' documentation, and return its name.

    The partition key is ``pk`` with a sort key, and ``id`` without.
    """
    import boto3

    name = f"idempotency-{uuid.uuid4().hex}"
    keys = {"id": "HASH"} if sort_key is None else {"pk": "HASH", sort_key: "RANGE"}
    client = boto3.client("dynamodb")
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
    )
    client.close()
    return name
