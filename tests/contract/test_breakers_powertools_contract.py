"""A table of breakers that functions with Powertools' circuit breaker share."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest
from aiobotocore.session import get_session
from aws_lambda_powertools.utilities.circuit_breaker.config import CircuitBreakerConfig
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerDynamoDBPersistence
from aws_lambda_powertools.utilities.circuit_breaker.states import CircuitState

from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, Circuit, Held
from fanfold.aws.breakers import DynamoDBBreakers
from fanfold.errors import ConfigurationError, ServiceError
from idempotency_table import new_table

pytestmark = pytest.mark.stack
NOW = float(int(time.time())) + 0.5
OPENED = Circuit(OPEN, since=NOW - 100, opened_at=NOW, probe_due=NOW + 90, tick_at=NOW)
MESSAGE = Held("arn:aws:sqs:eu-west-1:123456789012:orders", "handle", NOW + 600, 2)


class Shared:
    """A breaker that both libraries use."""

    def __init__(self, client: Any, table: str) -> None:
        self.name = f"breaker-{uuid.uuid4().hex}"
        self.table = DynamoDBBreakers(client, table)
        self.dynamodb = boto3.client("dynamodb")
        self.table_name = table

    def powertools(self) -> CircuitBreakerDynamoDBPersistence:
        """Return Powertools' layer as in a new execution environment, without cached states."""
        layer = CircuitBreakerDynamoDBPersistence(self.table_name, boto3_client=self.dynamodb)
        layer.configure(CircuitBreakerConfig(recovery_timeout=30), self.name)
        return layer

    async def circuit(self) -> Circuit:
        (circuit,) = await self.table.read([self.name])
        return circuit

    def put(self, suffix: str = "", **attributes: Any) -> None:
        """Write an item as another program might."""
        self.dynamodb.put_item(TableName=self.table_name, Item={"id": {"S": self.name + suffix}, **attributes})


@pytest.fixture(scope="module")
def table_name() -> list[str]:
    """The name of the table of this module, after the first test."""
    return []


@pytest.fixture
async def shared(aws, table_name) -> AsyncIterator[Shared]:
    table_name[:] = table_name or [new_table()]
    async with get_session().create_client("dynamodb") as client:
        both = Shared(client, table_name[0])
        yield both
        both.dynamodb.close()


async def test_powertools_reads_an_open_circuit_and_claims_its_probe(shared):
    """Then fanfold sees who probes, and until when, and keeps the rest of its state."""
    assert await shared.table.change(shared.name, Circuit(), OPENED._replace(failures=7))
    state = shared.powertools().get_state(shared.name)
    assert (state.state, state.opened_at, state.failure_count) == (CircuitState.OPEN, int(NOW), 7)
    assert not shared.powertools().try_acquire_half_open(shared.name, "thread-1", int(NOW) - 1)
    assert shared.powertools().try_acquire_half_open(shared.name, "thread-1", int(NOW))
    assert not shared.powertools().try_acquire_half_open(shared.name, "thread-2", int(NOW))
    circuit = await shared.circuit()
    assert (circuit.state, circuit.owner, circuit.since, circuit.tick_at) == (HALF_OPEN, "thread-1", NOW - 100, NOW)
    assert NOW + 25 < circuit.lease_until < NOW + 600


async def test_powertools_sees_a_probe_of_fanfold_and_takes_over_after_its_lease(shared):
    """Its condition compares integers: a lease is rounded up."""
    probing = OPENED._replace(state=HALF_OPEN, owner="env-1", lease_until=time.time() + 60.5)
    assert await shared.table.change(shared.name, Circuit(), probing)
    state = shared.powertools().get_state(shared.name)
    assert (state.state, state.half_open_owner) == (CircuitState.HALF_OPEN, "env-1")
    assert not shared.powertools().try_acquire_half_open(shared.name, "thread-1", int(NOW))
    ended = probing._replace(lease_until=time.time() - 2)
    assert await shared.table.change(shared.name, probing._replace(version=1), ended)
    assert shared.powertools().try_acquire_half_open(shared.name, "thread-1", int(NOW))
    assert (await shared.circuit()).owner == "thread-1"


async def test_powertools_sees_that_fanfold_has_closed_a_circuit(shared):
    """Without the attributes of the outage."""
    await shared.table.change(shared.name, Circuit(), OPENED)
    await shared.table.change(shared.name, OPENED._replace(version=1), OPENED._replace(state=CLOSED, closed_at=NOW))
    state = shared.powertools().get_state(shared.name)
    assert (state.state, state.opened_at, state.failure_count) == (CircuitState.CLOSED, None, 0)
    assert state.expiry_timestamp > NOW + 13 * 86_400


async def test_fanfold_sees_that_powertools_has_opened_a_circuit(shared):
    """A new outage begins then; fanfold probes after Powertools' default recovery time."""
    shared.powertools().save_open(shared.name, failure_count=5, opened_at=int(NOW))
    opened_at = float(int(NOW))
    opened = Circuit(OPEN, since=opened_at, opened_at=opened_at, probe_due=opened_at + 30)
    assert await shared.circuit() == opened
    probing = opened._replace(state=HALF_OPEN, owner="env-1", lease_until=NOW + 60)
    assert await shared.table.change(shared.name, opened, probing)
    assert await shared.circuit() == probing._replace(version=1)


async def test_fanfold_sees_that_powertools_has_opened_a_circuit_again(shared):
    """During an outage that fanfold knows, the outage began as before."""
    await shared.table.change(shared.name, Circuit(), OPENED)
    await shared.table.add_page(shared.name, [MESSAGE], NOW + 600)
    shared.powertools().save_reopen(shared.name, opened_at=int(NOW) + 40)
    expected = OPENED._replace(opened_at=int(NOW) + 40, probe_due=int(NOW) + 70, version=1, pages=1)
    assert await shared.circuit() == expected


async def test_fanfold_sees_that_powertools_has_closed_a_circuit(shared):
    """Its pages are still to be released."""
    await shared.table.change(shared.name, Circuit(), OPENED)
    await shared.table.add_page(shared.name, [MESSAGE], NOW + 600)
    assert shared.powertools().try_acquire_half_open(shared.name, "thread-1", int(NOW))
    shared.powertools().save_closed(shared.name)
    circuit = await shared.circuit()
    assert circuit == OPENED._replace(state=CLOSED, closed_at=NOW, version=1, pages=1)
    assert circuit.has_held


async def test_a_count_sees_that_powertools_has_closed_a_circuit(shared):
    """Otherwise, one failure after the outage would seem to begin it anew."""
    await shared.table.change(shared.name, Circuit(), OPENED)
    assert (await shared.table.count_failures(shared.name, 1, NOW)).state == OPEN
    shared.powertools().save_closed(shared.name)
    circuit = await shared.table.count_failures(shared.name, 1, NOW)
    assert (circuit.state, circuit.failures) == (CLOSED, 2)


@pytest.mark.parametrize("state", [CLOSED, OPEN, HALF_OPEN])
async def test_a_change_fails_if_powertools_has_changed_the_circuit_since_it_was_read(shared, state):
    """Nothing is stored, although the version is still the same; after another read, it succeeds."""
    before = OPENED._replace(state=state, owner="env-1" if state == HALF_OPEN else "", lease_until=NOW)
    await shared.table.change(shared.name, Circuit(), before)
    before = await shared.circuit()
    if state == HALF_OPEN:
        assert shared.powertools().try_acquire_half_open(shared.name, "thread-1", int(NOW))
    else:
        shared.powertools().save_open(shared.name, failure_count=5, opened_at=int(NOW) + 1)
    seen = await shared.circuit()
    assert not await shared.table.change(shared.name, before, Circuit(closed_at=NOW))
    assert await shared.circuit() == seen != before
    assert await shared.table.change(shared.name, seen, Circuit(closed_at=NOW))
    assert (await shared.circuit()).is_closed


async def test_powertools_does_not_close_a_circuit_that_a_person_has_opened(shared):
    """For fanfold's breakers; and the person can close it."""
    await shared.table.change(shared.name, Circuit(), OPENED._replace(forced=True))
    shared.powertools().save_closed(shared.name)
    circuit = await shared.circuit()
    assert circuit == OPENED._replace(forced=True, version=1)
    assert await shared.table.change(shared.name, circuit, Circuit(closed_at=NOW))
    assert (await shared.circuit()).is_closed


async def test_a_circuit_stays_open_if_powertools_item_has_expired(shared):
    """Powertools' items expire an hour after the recovery time: an outage can be longer."""
    await shared.table.change(shared.name, Circuit(), OPENED)
    shared.dynamodb.delete_item(TableName=shared.table_name, Key={"id": {"S": shared.name}})
    assert await shared.circuit() == OPENED._replace(version=1)
    assert await shared.table.change(shared.name, OPENED._replace(version=1), OPENED._replace(opened_at=NOW + 50))
    assert shared.powertools().get_state(shared.name).opened_at == int(NOW) + 50


@pytest.mark.parametrize(
    ("suffix", "attributes", "message"),
    [
        ("", {}, "attribute state is missing, not CLOSED, OPEN or HALF_OPEN"),
        ("", {"state": {"S": "open"}}, "attribute state is .* not CLOSED, OPEN or HALF_OPEN"),
        ("", {"state": {"S": "OPEN"}}, "attribute opened_at is missing, not a number"),
        ("#fanfold", {"version": {"S": "x"}}, r"attribute version is \{'S': 'x'\}, not a number"),
        ("#fanfold", {"pages": {"N": "1.5"}}, r"attribute pages is \{'N': '1.5'\}, not an integer"),
    ],
)
async def test_an_item_that_cannot_be_read_is_named_in_one_line(shared, suffix, attributes, message):
    """With its attribute, and how to fix it."""
    shared.put(suffix, **attributes)
    with pytest.raises(
        ServiceError, match=f"^table {shared.table_name}: item '{shared.name}{suffix}': {message}"
    ) as error:
        await shared.circuit()
    assert str(error.value).endswith("; correct the attribute, or delete the item")
    assert (error.value.transient, "\n" in str(error.value)) == (False, False)


async def test_an_item_that_cannot_be_updated_is_named_in_one_line(shared):
    """A count in it is a text."""
    shared.put("#fanfold", pages={"S": "many"}, failures={"S": "many"}, interval={"N": str(int(NOW // 60))})
    for operation in (
        shared.table.add_page(shared.name, [MESSAGE], NOW + 600),
        shared.table.count_failures(shared.name, 1, NOW),
    ):
        with pytest.raises(ServiceError, match=f"item '{shared.name}#fanfold'"):
            await operation


async def test_a_page_that_cannot_be_read_is_named_in_one_line(shared):
    """Another program may have written anything there."""
    for content in ({"B": b"no page"}, {"S": "no page"}, {"N": "3"}):
        shared.put("#held#1", messages=content)
        with pytest.raises(ServiceError, match=f"item '{shared.name}#held#1': attribute messages is"):
            await shared.table.page(shared.name, 1)


async def test_the_names_of_all_breakers_are_listed(shared):
    """Those that only Powertools uses, too; once each."""
    shared.powertools().save_open(shared.name, failure_count=5, opened_at=int(NOW))
    await shared.table.change(f"{shared.name}-2", Circuit(), OPENED)
    await shared.table.add_page(f"{shared.name}-2", [MESSAGE], NOW + 600)
    names = await shared.table.names()
    assert [name for name in names if name.startswith(shared.name)] == [shared.name, f"{shared.name}-2"]


async def test_a_missing_table_is_an_error_that_names_it(aws):
    """Each operation raises it, in one line."""
    async with get_session().create_client("dynamodb") as client:
        table = DynamoDBBreakers(client, "no-such-table")
        for operation in (
            table.read(["orders"]),
            table.change("orders", Circuit(), OPENED),
            table.count_failures("orders", 1, NOW),
            table.add_page("orders", [MESSAGE], NOW),
            table.page("orders", 1),
            table.released("orders", 1),
            table.names(),
        ):
            with pytest.raises(ConfigurationError, match=r"^table no-such-table: does not exist.*"):
                await operation


async def test_a_table_with_another_key_is_an_error_that_names_the_right_one(aws):
    """Such as the table of a ledger, or of idempotency with a sort key."""
    async with get_session().create_client("dynamodb") as client:
        table = DynamoDBBreakers(client, new_table("sk"))
        for operation in (
            table.page("orders", 1),
            table.count_failures("orders", 1, NOW),
            table.released("orders", 1),
        ):
            with pytest.raises(
                ConfigurationError, match="it must have the partition key id, a string, and no sort key"
            ):
                await operation
        assert await table.names() == []
