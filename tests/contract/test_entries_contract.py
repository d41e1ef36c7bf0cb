"""What entries of idempotency promise, asked of those in this process and of those in DynamoDB."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiobotocore.session import get_session

from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry, EntryStore, Layout
from fanfold.aws.entries import DynamoDBEntries
from fanfold.errors import ConfigurationError
from fanfold.inmemory import InMemoryEntries
from idempotency_table import new_table
from on_aws import AWS

SORTED = pytest.param("aws with a sort key", marks=pytest.mark.stack)
NOW = 1_800_000_000.25
WORKING = Entry("key", IN_PROGRESS, expires_at=int(NOW) + 60, lease_ends_at=NOW + 30, owner="me")
DONE = Entry("key", COMPLETED, expires_at=int(NOW) + 60, result='{"a": "日本"}')
BY_SORT_KEY = Layout(key_attr="pk", sort_key_attr="sk", static_pk_value="all")


@pytest.fixture(params=["in-process", AWS, SORTED])
async def store(request) -> AsyncIterator[EntryStore]:
    if request.param == "in-process":
        yield InMemoryEntries()
        return
    request.getfixturevalue("aws")
    async with get_session().create_client("dynamodb") as client:
        layout = Layout() if request.param == "aws" else BY_SORT_KEY
        yield DynamoDBEntries(client, new_table(layout.sort_key_attr), layout)


async def test_a_key_that_nobody_holds_is_claimed_and_is_held_from_then_on(store):
    """The second to ask is told who holds it, and until when."""
    assert await store.claim(WORKING, NOW) is None
    assert await store.claim(replace(WORKING, owner="other"), NOW) == WORKING


async def test_a_claim_made_again_by_its_owner_is_the_same_claim(store):
    """As the SDK does when an answer is lost."""
    assert await store.claim(WORKING, NOW) is None
    assert await store.claim(WORKING, NOW) is None


async def test_a_claim_whose_lease_is_over_may_be_taken_over(store):
    """Not before: to the millisecond."""
    await store.claim(WORKING, NOW)
    other = replace(WORKING, owner="other", lease_ends_at=NOW + 90)
    assert await store.claim(other, NOW + 30) == WORKING
    assert await store.claim(other, NOW + 30.001) is None
    assert await store.read(["key"]) == [other]


async def test_a_claim_without_a_lease_holds_until_it_expires(store):
    """As Powertools writes them where no Lambda context was registered."""
    forever = replace(WORKING, lease_ends_at=None)
    await store.claim(forever, NOW)
    other = replace(WORKING, owner="other")
    assert await store.claim(other, NOW + 60) == forever
    assert await store.claim(other, NOW + 61) is None


async def test_what_is_done_is_not_claimed_until_it_expires(store):
    """The claimer is told what the handler returned."""
    assert not await store.complete([DONE])
    assert await store.claim(WORKING, NOW + 60) == DONE
    assert await store.claim(WORKING, NOW + 61) is None


async def test_what_is_done_takes_the_place_of_its_claim(store):
    """Whoever holds it by now: that it is done is true."""
    await store.claim(WORKING, NOW)
    await store.complete([DONE])
    assert await store.read(["key"]) == [DONE]


async def test_a_claim_is_dropped_by_its_owner_alone(store):
    """Nor is what is done dropped, or what is not there."""
    await store.claim(WORKING, NOW)
    await store.release("key", "other")
    assert await store.read(["key"]) == [WORKING]
    await store.release("key", "me")
    await store.release("key", "me")
    assert await store.read(["key"]) == []
    await store.complete([DONE])
    await store.release("key", "me")
    assert await store.read(["key"]) == [DONE]


async def test_many_are_written_and_read_together(store):
    """Keys that are not there are left out."""
    entries = [replace(DONE, key=f"key {number}") for number in range(25)]
    assert not await store.complete(entries)
    found = await store.read([f"key {number}" for number in range(100)])
    assert sorted(entry.key for entry in found) == sorted(entry.key for entry in entries)


async def test_a_result_that_was_not_kept_is_none(store):
    """That it is done is known all the same."""
    await store.complete([replace(DONE, result=None)])
    (entry,) = await store.read(["key"])
    assert entry.is_done(NOW)
    assert entry.value() is None


@pytest.mark.stack
async def test_a_table_that_does_not_exist_is_named(aws):
    """By whatever is asked of it."""
    async with get_session().create_client("dynamodb") as client:
        store = DynamoDBEntries(client, "no-such-table")
        for asked in (store.read(["key"]), store.claim(WORKING, NOW), store.complete([DONE]), store.release("k", "me")):
            with pytest.raises(ConfigurationError, match="no-such-table"):
                await asked


@pytest.mark.stack
async def test_the_partition_of_a_table_with_a_sort_key_is_the_functions(aws, monkeypatch):
    """Unless another is named."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    async with get_session().create_client("dynamodb") as client:
        table = new_table("sk")
        store = DynamoDBEntries(client, table, replace(BY_SORT_KEY, static_pk_value=None))
        await store.complete([DONE])
        (item,) = (await client.scan(TableName=table))["Items"]
        assert (item["pk"]["S"], item["sk"]["S"]) == ("idempotency#orders", "key")
