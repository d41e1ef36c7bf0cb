"""Queues, a ledger, and a bucket of a job on the emulated AWS, without deployed functions."""

import uuid

import boto3

from fanfold._stack.emulator import LocalStack
from fanfold.aws.run_index import INDEX, PROJECTED


def variables_of_new_job(stack: LocalStack) -> dict[str, str]:
    """Create them; return the environment variables of the commands."""
    name = f"steer-{uuid.uuid4().hex[:12]}"
    sqs, dynamodb, s3 = (boto3.client(service, **stack.client_settings) for service in ("sqs", "dynamodb", "s3"))
    queues = {
        kind: sqs.create_queue(QueueName=f"{name}-{kind}")["QueueUrl"]
        for kind in ("QUEUE", "FOLD_QUEUE", "QUARANTINE_QUEUE", "DEAD_LETTER_QUEUE")
    }
    kinds = {"pk": "S", "sk": "S", "state": "S", "created_at": "N"}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in kinds.items()],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": INDEX,
                "KeySchema": _keys("state", "created_at"),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(PROJECTED)},
            }
        ],
    )
    s3.create_bucket(Bucket=name)
    for client in (sqs, dynamodb, s3):
        client.close()
    return {
        **stack.environment,
        **{f"FANFOLD_{kind}_URL": url for kind, url in queues.items()},
        "FANFOLD_LEDGER_TABLE": name,
        "FANFOLD_RESULTS_BUCKET": name,
        "COLUMNS": "80",
    }


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]
