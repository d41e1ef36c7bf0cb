"""Contract of the switch of event source mappings, for Lambda as the local stack emulates it."""

import io
import json
import uuid
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanfold._ports.mappings import Mappings
from fanfold.aws.mappings import LambdaMappings

pytestmark = pytest.mark.stack
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


def package() -> bytes:
    """Return a package of a function that does nothing."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("app.py", "def handler(event, context):\n    return {}\n")
    return stream.getvalue()


class Orders:
    """Two functions that read a queue."""

    def __init__(self, client: Any, queue: str) -> None:
        self.client = client
        self.queue = queue
        self.mappings: Mappings = LambdaMappings(client)

    async def create(self, role: str, *names: str) -> None:
        for name in names:
            await self.client.create_function(
                FunctionName=name, Runtime="python3.12", Handler="app.handler", Role=role, Code={"ZipFile": package()}
            )
            await self.client.create_event_source_mapping(FunctionName=name, EventSourceArn=self.queue, BatchSize=1)

    async def states(self) -> dict[str, str]:
        """Return the state of the mapping of each function."""
        page = await self.client.list_event_source_mappings(EventSourceArn=self.queue)
        mappings = page["EventSourceMappings"]
        return {mapping["FunctionArn"].rpartition(":")[2]: mapping["State"] for mapping in mappings}


@pytest.fixture
async def orders(aws: Any, session: Any) -> AsyncIterator[Orders]:
    name = f"orders-{uuid.uuid4().hex}"
    async with (
        session.create_client("sqs", verify=False) as sqs,
        session.create_client("iam", verify=False) as iam,
        session.create_client("lambda", verify=False) as client,
    ):
        url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        attributes = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        role = await iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        queues = Orders(client, attributes["Attributes"]["QueueArn"])
        await queues.create(role["Role"]["Arn"], f"ship-{name}", f"pack-{name}")
        yield queues


async def test_the_mapping_of_one_function_is_disabled_and_enabled_again(orders: Orders):
    """Repeated requests have no effect, and the other function continues to read the queue."""
    ship, pack = sorted(await orders.states(), reverse=True)
    for _ in range(2):
        assert await orders.mappings.set_enabled(ship, [orders.queue], False)
        states = await orders.states()
        assert states[ship] in {"Disabled", "Disabling"}
        assert states[pack] == "Enabled"
    for _ in range(2):
        assert await orders.mappings.set_enabled(ship, [orders.queue], True)
        assert (await orders.states())[ship] in {"Enabled", "Enabling"}
