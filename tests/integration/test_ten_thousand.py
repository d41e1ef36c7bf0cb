"""System 4: ten thousand records in one batch, each with a real request, within Lambda's 1,024 file descriptors."""

import json
from pathlib import Path

import boto3
import pytest

from command import fanfold
from deployment import until
from depth import by_depth
from fanfold._replay.deployed_settings import deployed_settings
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack
from systems.ten_thousand import DESCRIPTORS, EXAMPLE, Trouble, replay, reported, seen_by, shop

pytestmark = pytest.mark.slow

TROUBLE = Trouble(by_depth(700, 10_000), hangs=by_depth(301, 3_001), refuses=by_depth(199, 1_999))
ORDERS = TROUBLE.orders


@pytest.fixture(scope="module")
def orders(tmp_path_factory) -> Path:
    """Write the orders of the README to a file."""
    file = tmp_path_factory.mktemp("orders") / "orders.json"
    TROUBLE.write(file)
    return file


# Slow: thousands of real HTTP requests, and orders that hang until their timeout.
def test_all_orders_arrive_a_hundred_concurrently_and_failures_are_reported(orders: Path):
    """One batch contains all orders; exactly those that failed or hung are redelivered and then arrive."""
    refused, failed = TROUBLE.refused, TROUBLE.failed
    with shop(TROUBLE) as url:
        document = replay("patient:handler", url, orders, "--expect", f"dead-lettered={len(refused)}")
        seen = seen_by(url)
    assert seen["taken"] == sorted(set(range(1, ORDERS + 1)) - set(refused))
    assert seen["taken_twice"] == []
    assert seen["requests"] == ORDERS + len(failed)
    assert seen["most_connections"] == 100
    assert len(document["deliveries"][0]["messages"]) == ORDERS
    assert reported(document) == failed
    assert {letter["number"] + 1: letter["reason"] for letter in document["dead_letters"]} == {
        number: f"order {number}: no such article" for number in refused
    }
    summary = document["summary"]
    assert (summary["deleted"], summary["left"], summary["lost"]) == (ORDERS - len(refused), 0, 0)
    assert document["measured"]["peak_memory_mb"] < document["settings"]["memory_mb"]


@pytest.mark.deep
def test_sending_all_orders_concurrently_runs_out_of_descriptors(orders: Path):
    """With ``asyncio.gather`` and 1,500 orders, those without a descriptor do not arrive."""
    few = orders.with_name("few.json")
    few.write_text(json.dumps(json.loads(orders.read_text())[:1_500]))
    with shop(TROUBLE) as url:
        document = replay("naive:handler", url, few, "--once")
        seen = seen_by(url)
    assert 900 < seen["most_connections"] < DESCRIPTORS
    assert document["summary"]["left"] > 1_500 - DESCRIPTORS


@pytest.mark.stack
def test_the_template_deploys_and_its_function_puts_orders_into_the_shop(stack: LocalStack):
    """On the emulated AWS, which supports batches of ten, refused orders are in the dead-letter queue."""
    s3, cloudformation, sqs = (boto3.client(name, **stack.client_settings) for name in ("s3", "cloudformation", "sqs"))
    s3.create_bucket(Bucket="code-of-ten-thousand")
    with shop(TROUBLE) as url:
        outputs = deploy(
            {"s3": s3, "cloudformation": cloudformation},
            EXAMPLE / "template.yaml",
            name="ten-thousand",
            parameters={"ShopUrl": url},
            code_bucket="code-of-ten-thousand",
        )
        numbers = [*range(1, 20), TROUBLE.refuses]
        for number in numbers:
            sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=json.dumps({"order": number}))
        until(lambda: len(seen_by(url)["taken"]) == 19)
        response = sqs.receive_message(
            QueueUrl=outputs["DeadLetterQueueUrl"], WaitTimeSeconds=20, MessageAttributeNames=["All"]
        )
    cloudformation.delete_stack(StackName="ten-thousand")
    (message,) = response["Messages"]
    assert json.loads(message["Body"]) == {"order": TROUBLE.refuses}
    (reason,) = message["MessageAttributes"].values()
    assert json.loads(reason["StringValue"])["reason"] == f"order {TROUBLE.refuses}: no such article"


def test_the_template_has_the_settings_that_matter():
    """A batching window, a visibility timeout of six timeouts plus the window, and ``ReportBatchItemFailures``."""
    settings = deployed_settings(EXAMPLE / "template.yaml", "ConsumeFunction").values
    assert settings["batch_size"] == 10_000
    assert settings["window_seconds"] >= 1
    assert settings["visibility_timeout"] == 6 * settings["function_timeout"] + settings["window_seconds"]
    assert settings["report_batch_item_failures"]


def test_fanfold_check_has_no_findings_in_the_template():
    """``make lint`` runs cfn-lint."""
    done = fanfold("check", "--json", str(EXAMPLE / "template.yaml"))
    assert (done.returncode, done.stderr) == (0, "")
