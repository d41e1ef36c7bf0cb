"""A folder with a handler and a saved event, and ``fanfold replay`` in it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from command import fanfold
from fanfold.testing import make_event

APP = """
    import asyncio, json, os, random, sys, time
    from pathlib import Path

    import fanfold

    @fanfold.consumer(concurrency=3, backoff=fanfold.Backoff(base=7, factor=2, jitter=0))
    async def handler(order: dict, ctx: fanfold.Context) -> None:
        await asyncio.sleep(order.get("sleep", 0))
        if order.get("do") == "fail":
            raise ValueError(f"order {order['number']}")
        if order.get("do") == "reject":
            raise fanfold.Reject("no such customer")
        if order.get("do") == "retry" and ctx.receive_count == 1:
            raise fanfold.Retry(after=100)

    @fanfold.consumer(concurrency=10, backoff=fanfold.Backoff())
    async def shaky(order: dict) -> None:
        await asyncio.sleep(random.random() / 300)
        if order.get("do") in {"fail", "reject"}:
            raise ValueError(f"order {order['number']}") if order["do"] == "fail" else fanfold.Reject(
                ", ".join({"no such customer", "no such address"})
            )

    def forgetful(event, context):
        for record in event["Records"]:
            print("working on", record["messageId"])

    def sleepy(event, context):
        Path("pid").write_text(str(os.getpid()))
        time.sleep(600)

    def fat(event, context):
        kept = bytearray(300_000_000)
        time.sleep(60)

    def leaves(event, context):
        sys.exit(3)

    def raises(event, context):
        raise RuntimeError("no database")

    def odd(event, context):
        return {"batchItemFailures": [{"itemIdentifier": "nobody"}]}

    def asks(event, context):
        import boto3

        sqs = boto3.client("sqs")
        url = os.environ["FANFOLD_QUEUE_URL"]
        for record in event["Records"]:
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=50)
        sqs.send_message(QueueUrl=os.environ["FANFOLD_DEAD_LETTER_QUEUE_URL"], MessageBody="by hand")
        first = event["Records"][0]["attributes"]["ApproximateReceiveCount"] == "1"
        ids = [record["messageId"] for record in event["Records"]] if first else []
        return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}

    notHandler = 3
"""


def folder_in(tmp_path: Path) -> Path:
    """Create ``app.py`` and a saved event of four orders in a folder."""
    (tmp_path / "app.py").write_text(textwrap.dedent(APP), encoding="utf-8")
    orders = [{"number": 0}, {"number": 1, "do": "fail"}, {"number": 2, "do": "reject"}, {"number": 3, "do": "retry"}]
    save(tmp_path, make_event(*orders))
    return tmp_path


def save(folder: Path, event: Any, name: str = "event.json") -> None:
    (folder / name).write_text(json.dumps(event), encoding="utf-8")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fanfold", "replay", *arguments]


def replay(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return fanfold("replay", *arguments, folder=folder, **variables)
