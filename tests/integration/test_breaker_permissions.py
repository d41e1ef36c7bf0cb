"""The permissions that a function needs for the table of its breakers, on an emulated AWS that enforces them."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import boto3
import pytest

from fanfold._ports.breakers import OPEN, Circuit, Held
from fanfold._stack.emulator import LocalStack
from fanfold.aws.breakers import open_breakers
from fanfold.errors import ConfigurationError
from idempotency_table import new_table

pytestmark = pytest.mark.stack

FUNCTION = ("BatchGetItem", "PutItem", "UpdateItem", "DeleteItem")
"""The actions of a function; listing all breakers needs ``Scan``, too."""
MESSAGE = Held("arn:aws:sqs:eu-west-1:123456789012:orders", "handle", 600.0, 2)


def user_who_may(stack: LocalStack, table: str, actions: Sequence[str]) -> dict[str, Any]:
    """Create a user with these permissions on a table; return the settings of its clients."""
    iam, name = boto3.client("iam", **stack.client_settings), f"user-{uuid.uuid4().hex}"
    account = boto3.client("sts", **stack.client_settings).get_caller_identity()["Account"]
    statement = {
        "Effect": "Allow",
        "Action": [f"dynamodb:{action}" for action in actions],
        "Resource": f"arn:aws:dynamodb:{stack.client_settings['region_name']}:{account}:table/{table}",
    }
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="breakers", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    return {**stack.client_settings, **keys}


@pytest.fixture
def table(strict: LocalStack, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in strict.environment.items():
        monkeypatch.setenv(name, value)
    return new_table()


async def test_four_actions_are_enough_for_a_function(strict: LocalStack, table: str):
    """A change of the state needs no others, although it is a transaction."""
    async with open_breakers(table, **user_who_may(strict, table, FUNCTION)) as breakers:
        opened = Circuit(OPEN, since=1.0, opened_at=1.0)
        assert await breakers.change("orders", Circuit(), opened)
        await breakers.count_failures("orders", 3, 1.0)
        await breakers.add_page("orders", [MESSAGE], 600.0)
        assert list(await breakers.page("orders", 1)) == [MESSAGE]
        await breakers.released("orders", 1)
        assert await breakers.read(["orders"]) == [opened._replace(version=1, failures=3, pages=1, released=1)]
        with pytest.raises(ConfigurationError, match=f"table {table}: AWS refuses .*dynamodb:Scan"):
            await breakers.names()


@pytest.mark.parametrize("missing", FUNCTION)
async def test_a_missing_permission_is_one_line_that_names_the_action(strict: LocalStack, table: str, missing: str):
    """And the table."""
    settings = user_who_may(strict, table, [action for action in FUNCTION if action != missing])
    async with open_breakers(table, **settings) as breakers:

        async def use() -> None:
            await breakers.change("orders", Circuit(), Circuit(OPEN))
            await breakers.add_page("orders", [MESSAGE], 600.0)
            await breakers.released("orders", 1)

        with pytest.raises(ConfigurationError, match=f"^table {table}: AWS refuses .*dynamodb:{missing}") as error:
            await use()
    assert "\n" not in str(error.value)
