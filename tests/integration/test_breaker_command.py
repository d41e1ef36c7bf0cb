"""``fanfold breaker``, as a user runs it during and after an outage."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from command import fanfold, only_line
from fanfold._breakers.transitions import opened
from fanfold._ports.breakers import Held
from fanfold._stack.emulator import LocalStack
from fanfold.aws.breakers import open_breakers
from idempotency_table import new_table

pytestmark = pytest.mark.stack


class Deployed:
    """A table of breakers and a queue with messages, and their environment variables."""

    def __init__(self, stack: LocalStack) -> None:
        self.settings = stack.client_settings
        self.sqs = boto3.client("sqs", **self.settings)
        self.queue = self.sqs.create_queue(QueueName=f"orders-{uuid.uuid4().hex}")["QueueUrl"]
        names = ["QueueArn"]
        self.arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]["QueueArn"]
        self.table = new_table()
        self.variables = {**stack.environment, "FANFOLD_BREAKER_TABLE": self.table, "COLUMNS": "100"}

    def run(self, *arguments: str) -> Any:
        return fanfold("breaker", *arguments, **self.variables)

    def receive(self) -> list[dict[str, Any]]:
        """Receive all visible messages."""
        received: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            received += messages
        return received

    def send(self, count: int) -> None:
        for number in range(count):
            self.sqs.send_message(QueueUrl=self.queue, MessageBody=f"order {number}")

    async def hold(self, name: str) -> list[str]:
        """Hold all visible messages for an hour, and store them as a page; return their handles."""
        handles = [message["ReceiptHandle"] for message in self.receive()]
        for handle in handles:
            self.sqs.change_message_visibility(QueueUrl=self.queue, ReceiptHandle=handle, VisibilityTimeout=3600)
        until = time.time() + 3600
        async with open_breakers(self.table, **self.settings) as table:
            await table.add_page(name, [Held(self.arn, handle, until, 2) for handle in handles], until)
        return handles

    async def open(self, name: str) -> None:
        async with open_breakers(self.table, **self.settings) as table:
            (circuit,) = await table.read([name])
            assert await table.change(name, circuit, opened(circuit, time.time() - 900, probe_every=30))


@pytest.fixture
def deployed(aws: LocalStack) -> Iterator[Deployed]:
    deployed = Deployed(aws)
    yield deployed
    deployed.sqs.close()


async def test_closing_a_breaker_makes_its_held_messages_visible(deployed: Deployed):
    """They are received again; one that was deleted counts as gone, and a repetition changes nothing."""
    await deployed.open("payments")
    deployed.send(23)
    handles = await deployed.hold("payments")
    deployed.send(2)
    await deployed.hold("payments")
    deployed.sqs.delete_message(QueueUrl=deployed.queue, ReceiptHandle=handles[0])
    assert (len(handles), deployed.receive()) == (23, [])

    done = deployed.run("status", "payments")
    assert (done.returncode, done.stderr) == (1, "")
    assert "breaker payments: open: only probes call the service" in done.stdout
    assert "2 pages of up to 500 messages" in done.stdout

    done = deployed.run("close", "payments")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "breaker payments is closed; 24 messages made visible; 1 were gone\n"
    assert len(deployed.receive()) == 24

    done = deployed.run("close", "payments", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["state"], document["visible"], document["pages_waiting"]) == (0, "CLOSED", 0, 0)
    done = deployed.run("status", "payments", "--json")
    assert (done.returncode, json.loads(done.stdout)["pages"]) == (0, 2)


async def test_a_breaker_is_opened_and_closed_by_hand(deployed: Deployed):
    """The list shows it, and ends with the exit code of an open breaker."""
    assert deployed.run("status").stdout == "no breakers\n"
    done = deployed.run("open", "payments")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "breaker payments is open by hand. Run `fanfold breaker close payments` to close it\n"
    assert json.loads(deployed.run("open", "payments", "--json").stdout)["forced"] is True
    await deployed.open("stock")
    done = deployed.run("status")
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["payments", "OPEN"], ["stock", "OPEN"]]
    for name in ("payments", "stock"):
        assert deployed.run("close", name).stdout == f"breaker {name} is closed; 0 messages made visible\n"
    done = deployed.run("status", "--json")
    states = {breaker["breaker"]: breaker["state"] for breaker in json.loads(done.stdout)["breakers"]}
    assert (done.returncode, states) == (0, {"payments": "CLOSED", "stock": "CLOSED"})


async def test_a_page_that_cannot_be_read_does_not_stop_the_others(deployed: Deployed):
    """The command states it, and fails."""
    deployed.send(3)
    await deployed.hold("payments")
    deployed.send(2)
    await deployed.hold("payments")
    dynamodb = boto3.client("dynamodb", **deployed.settings)
    key = {"id": {"S": "payments#held#1"}}
    dynamodb.put_item(TableName=deployed.table, Item={**key, "messages": {"S": "?"}})
    dynamodb.close()
    done = deployed.run("close", "payments")
    assert (done.returncode, done.stdout) == (1, "breaker payments is closed; 2 messages made visible\n")
    assert only_line(done.stderr).startswith("fanfold: breaker 'payments': 1 page of held messages could not be read")
    assert len(deployed.receive()) == 2


async def test_a_queue_that_does_not_exist_any_more_is_named(deployed: Deployed):
    """The breaker is closed nevertheless."""
    await deployed.open("payments")
    deployed.send(1)
    await deployed.hold("payments")
    deployed.sqs.delete_queue(QueueUrl=deployed.queue)
    done = deployed.run("close", "payments")
    assert (done.returncode, done.stdout) == (1, "")
    line = only_line(done.stderr)
    assert line.startswith("fanfold: breaker 'payments' is closed; 0 messages made visible, then: queue http")
    assert "does not exist" in line


def test_wrong_settings_are_one_line(deployed: Deployed):
    """A missing table, a name that no breaker can have, and no table at all."""
    done = deployed.run("status", "payments", "--table", "no-such-table")
    assert (done.returncode, done.stdout) == (2, "")
    assert only_line(done.stderr).startswith(
        "fanfold: table no-such-table: does not exist; check the name and the region"
    )
    done = deployed.run("close", "payments#held#1")
    assert (done.returncode, only_line(done.stderr)[:50]) == (2, "fanfold: NAME must be the name of a breaker: not e")
    deployed.variables["FANFOLD_BREAKER_TABLE"] = ""
    done = deployed.run("open", "payments")
    assert only_line(done.stderr) == (
        "fanfold: specify --table, or set FANFOLD_BREAKER_TABLE: the DynamoDB table of the breakers"
    )
    done = deployed.run("status", "never-used", "--table", deployed.table)
    assert (done.returncode, "nothing is stored under this name" in done.stdout) == (0, True)
