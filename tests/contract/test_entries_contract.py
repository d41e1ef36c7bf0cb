"""Contract of idempotency entries, for the in-memory store, those that a replay keeps, and DynamoDB."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiobotocore.session import get_session

from fanfold._ports.idempotency import COMPLETED, IN_PROGRESS, Entry, EntryStore, Layout
from fanfold._replay.endpoint import serving
from fanfold._replay.kept_entries import RemoteEntries
from fanfold.aws.backend import config_of
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


@pytest.fixture(params=["in-process", "kept by a replay", AWS, SORTED])
async def store(request) -> AsyncIterator[EntryStore]:
    if request.param == "in-process":
        yield InMemoryEntries()
        return
    if request.param == "kept by a replay":
        with serving({}) as endpoint:
            yield RemoteEntries(endpoint.url)
        return
    request.getfixturevalue("aws")
    async with get_session().create_client("dynamodb", config=config_of("dynamodb")) as client:
        layout = Layout() if request.param == "aws" else BY_SORT_KEY
        yield DynamoDBEntries(client, new_table(layout.sort_key_attr), layout)


async def test_a_free_key_can_be_claimed_once(store):
    """A second claim returns the entry that holds the key, with its owner and its lease."""
    assert await store.claim(WORKING, NOW) is None
    assert await store.claim(replace(WORKING, owner="other"), NOW) == WORKING


async def test_a_repeated_claim_of_the_same_owner_succeeds(store):
    """The SDK repeats a call if its response is lost."""
    assert await store.claim(WORKING, NOW) is None
    assert await store.claim(WORKING, NOW) is None


async def test_a_claim_can_be_taken_over_after_its_lease(store):
    """The lease is exact to the millisecond."""
    await store.claim(WORKING, NOW)
    other = replace(WORKING, owner="other", lease_ends_at=NOW + 90)
    assert await store.claim(other, NOW + 30) == WORKING
    assert await store.claim(other, NOW + 30.001) is None
    assert await store.read(["key"]) == [other]


async def test_a_claim_without_a_lease_holds_until_it_expires(store):
    """Powertools writes such claims if no Lambda context is registered."""
    without_lease = replace(WORKING, lease_ends_at=None)
    await store.claim(without_lease, NOW)
    other = replace(WORKING, owner="other")
    assert await store.claim(other, NOW + 60) == without_lease
    assert await store.claim(other, NOW + 61) is None


async def test_a_completed_entry_cannot_be_claimed_until_it_expires(store):
    """A claim returns the completed entry, with the handler's result."""
    assert not await store.complete([DONE])
    assert await store.claim(WORKING, NOW + 60) == DONE
    assert await store.claim(WORKING, NOW + 61) is None


async def test_completing_an_entry_replaces_its_claim(store):
    """This holds even if another owner has the claim by then, since the work is done."""
    await store.claim(WORKING, NOW)
    await store.complete([DONE])
    assert await store.read(["key"]) == [DONE]


async def test_only_its_owner_can_release_a_claim(store):
    """Releasing a completed or missing entry has no effect."""
    await store.claim(WORKING, NOW)
    await store.release("key", "other")
    assert await store.read(["key"]) == [WORKING]
    await store.release("key", "me")
    await store.release("key", "me")
    assert await store.read(["key"]) == []
    await store.complete([DONE])
    await store.release("key", "me")
    assert await store.read(["key"]) == [DONE]


async def test_entries_are_written_and_read_in_batches(store):
    """A read omits missing keys."""
    entries = [replace(DONE, key=f"key {number}") for number in range(25)]
    assert not await store.complete(entries)
    stored = await store.read([f"key {number}" for number in range(100)])
    assert sorted(entry.key for entry in stored) == sorted(entry.key for entry in entries)


async def test_an_entry_without_a_result_is_completed_with_none(store):
    """The entry still counts as done."""
    await store.complete([replace(DONE, result=None)])
    (entry,) = await store.read(["key"])
    assert entry.is_done(NOW)
    assert entry.value() is None


@pytest.mark.stack
async def test_a_missing_table_is_an_error_that_names_it(aws):
    """Each operation raises the error."""
    async with get_session().create_client("dynamodb") as client:
        store = DynamoDBEntries(client, "no-such-table")
        for operation in (
            store.read(["key"]),
            store.claim(WORKING, NOW),
            store.complete([DONE]),
            store.release("k", "me"),
        ):
            with pytest.raises(ConfigurationError, match="no-such-table"):
                await operation


@pytest.mark.stack
async def test_the_partition_key_contains_the_function_name_by_default(aws, monkeypatch):
    """This applies to a table with a sort key, unless ``static_pk_value`` is set."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    async with get_session().create_client("dynamodb") as client:
        table = new_table("sk")
        store = DynamoDBEntries(client, table, replace(BY_SORT_KEY, static_pk_value=None))
        await store.complete([DONE])
        (item,) = (await client.scan(TableName=table))["Items"]
        assert (item["pk"]["S"], item["sk"]["S"]) == ("idempotency#orders", "key")
