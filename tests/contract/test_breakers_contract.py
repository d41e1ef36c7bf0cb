"""Contract of the shared state of breakers, in memory and in DynamoDB."""

import asyncio
import random
import string
import threading
import uuid
from collections.abc import AsyncIterator

import pytest
from aiobotocore.session import get_session
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, PAGE_HANDLES, BreakerTable, Circuit, Held
from fanfold.aws.backend import config_of
from fanfold.aws.breakers import DynamoDBBreakers
from fanfold.inmemory.breakers import InMemoryBreakers
from idempotency_table import new_table
from on_aws import AWS

NOW = 1_800_000_000.25
ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"
OPENED = Circuit(OPEN, since=NOW, opened_at=NOW, probe_due=NOW + 30, tick_at=NOW - 5, forced=True)
PROBING = Circuit(HALF_OPEN, since=NOW, opened_at=NOW, probe_due=NOW + 90, owner="env-1", lease_until=NOW + 60.5)
MESSAGES = [Held(ARN, f"handle {number}", NOW + number, number % 5) for number in range(3)]


@pytest.fixture(scope="module")
def shared_table() -> list[str]:
    """The name of the table of all tests of this module; empty until the first one has created it."""
    return []


@pytest.fixture(params=["in-process", AWS])
async def table(request, shared_table) -> AsyncIterator[BreakerTable]:
    if request.param == "in-process":
        yield InMemoryBreakers()
        return
    request.getfixturevalue("aws")
    shared_table[:] = shared_table or [new_table()]
    async with get_session().create_client("dynamodb", config=config_of("dynamodb")) as client:
        yield DynamoDBBreakers(client, shared_table[0])


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"breaker-{uuid.uuid4().hex}"


async def circuit_of(table: BreakerTable, name: str) -> Circuit:
    (circuit,) = await table.read([name])
    return circuit


async def test_an_unknown_breaker_is_closed(table, name):
    """Nothing has to be created before its first use."""
    assert await table.read([name, f"{name}-2"]) == [Circuit(), Circuit()]
    assert list(await table.page(name, 1)) == []


async def test_a_change_stores_every_attribute(table, name):
    """Fractions of seconds are kept; the version counts the changes."""
    assert await table.change(name, Circuit(), OPENED)
    first = await circuit_of(table, name)
    assert first == OPENED._replace(version=1)
    assert await table.change(name, first, PROBING)
    assert await circuit_of(table, name) == PROBING._replace(version=2)
    closed = Circuit(since=NOW, opened_at=NOW, closed_at=NOW + 70)
    assert await table.change(name, PROBING._replace(version=2), closed)
    assert await circuit_of(table, name) == closed._replace(version=3)


async def test_a_change_of_a_circuit_that_has_changed_since_is_refused(table, name):
    """The first of two wins, and nothing of the second is stored."""
    before = await circuit_of(table, name)
    assert await table.change(name, before, OPENED)
    assert not await table.change(name, before, PROBING)
    assert await circuit_of(table, name) == OPENED._replace(version=1)
    assert await table.change(name, OPENED._replace(version=1), PROBING)
    assert not await table.change(name, OPENED._replace(version=1), Circuit())


async def test_one_of_many_concurrent_claims_succeeds(table, name):
    """Each environment has read the same circuit."""
    await table.change(name, Circuit(), OPENED)
    before = await circuit_of(table, name)
    claims = [table.change(name, before, PROBING._replace(owner=f"env-{number}")) for number in range(10)]
    succeeded = await asyncio.gather(*claims)
    assert sum(succeeded) == 1
    assert (await circuit_of(table, name)).owner == f"env-{succeeded.index(True)}"


async def test_circuits_are_read_in_the_order_of_the_names(table, name):
    """Up to 50 in one request; a name may occur twice."""
    names = [f"{name}-{number}" for number in range(50)]
    for number in (3, 40):
        await table.change(names[number], Circuit(), OPENED._replace(tick_at=float(number)))
    circuits = await table.read(names)
    assert [number for number, circuit in enumerate(circuits) if circuit != Circuit()] == [3, 40]
    assert circuits[40].tick_at == 40
    assert await table.read([names[3], names[0], names[3]]) == [circuits[3], Circuit(), circuits[3]]


async def test_failures_are_counted_within_an_interval(table, name):
    """Those of another interval are forgotten; a clock that is behind or ahead by a second changes nothing."""
    counts = [(3, NOW), (2, NOW + 59), (1, NOW + 60), (4, NOW + 59), (5, NOW + 300), (7, NOW)]
    assert [(await table.count_failures(name, *count)).failures for count in counts] == [3, 5, 1, 5, 5, 7]
    assert await circuit_of(table, name) == Circuit(failures=7)


async def test_concurrent_counts_are_all_added(table, name):
    """Also if all of them are the first of an interval."""
    await table.count_failures(name, 9, NOW - 60)
    circuits = await asyncio.gather(*(table.count_failures(name, 1, NOW) for _ in range(8)))
    assert sorted(circuit.failures for circuit in circuits) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_counts_and_changes_do_not_affect_each_other(table, name):
    """A count does not change the state, and a change keeps counts and pages as they are by then."""
    await table.count_failures(name, 5, NOW)
    before = await circuit_of(table, name)
    assert (before.version, before.failures) == (0, 5)
    await table.count_failures(name, 1, NOW)
    await table.add_page(name, MESSAGES, NOW + 600)
    await table.add_page(name, MESSAGES, NOW + 600)
    await table.released(name, 1)
    assert await table.change(name, before, OPENED)
    assert await circuit_of(table, name) == OPENED._replace(version=1, failures=6, pages=2, released=1)
    counted = await table.count_failures(name, 2, NOW)
    assert counted == OPENED._replace(version=1, failures=8, pages=2, released=1)


async def test_pages_are_numbered_and_kept_until_they_are_released(table, name):
    """Each addition returns the circuit as it is then."""
    await table.change(name, Circuit(), OPENED)
    assert await table.add_page(name, MESSAGES, NOW + 600) == OPENED._replace(version=1, pages=1)
    other = [Held(f"{ARN}-2.fifo", "é#☃", NOW + 0.125, 0), *MESSAGES]
    circuit = await table.add_page(name, other, NOW + 600)
    assert (circuit.pages, circuit.released, circuit.has_held) == (2, 0, True)
    assert list(await table.page(name, 1)) == MESSAGES
    assert list(await table.page(name, 2)) == other
    await table.released(name, 1)
    assert list(await table.page(name, 1)) == []
    assert (await circuit_of(table, name)).has_held
    await table.released(name, 2)
    assert await circuit_of(table, name) == OPENED._replace(version=1, pages=2, released=2)


async def test_releasing_a_page_can_be_repeated(table, name):
    """In any order: the number of released pages never becomes smaller, or larger than that of pages."""
    await table.released(name, 1)
    assert await circuit_of(table, name) == Circuit()
    for _ in range(3):
        await table.add_page(name, MESSAGES, NOW + 600)
    for number in (2, 2, 1, 4):
        await table.released(name, number)
    assert await circuit_of(table, name) == Circuit(pages=3, released=2)
    assert [len(await table.page(name, number)) for number in (1, 2, 3, 4)] == [0, 0, 3, 0]


async def test_pages_that_are_added_concurrently_are_all_kept(table, name):
    """Each gets its own number."""
    added = [table.add_page(name, [MESSAGES[0]._replace(handle=f"h{number}")], NOW + 600) for number in range(8)]
    assert max(circuit.pages for circuit in await asyncio.gather(*added)) == 8
    pages = [await table.page(name, number) for number in range(1, 9)]
    assert sorted(message.handle for page in pages for message in page) == [f"h{number}" for number in range(8)]


async def test_a_page_has_room_for_the_longest_handles(table, name):
    """500 messages with handles of 1,024 random characters: DynamoDB's items have at most 400 KB."""
    characters, chance = string.ascii_letters + string.digits + "+/", random.Random(1)
    messages = [
        Held(ARN, "".join(chance.choices(characters, k=1024)), NOW + chance.random() * 43_200, 3)
        for _ in range(PAGE_HANDLES)
    ]
    await table.add_page(name, messages, NOW + 600)
    assert list(await table.page(name, 1)) == messages


async def test_a_page_is_visible_to_who_closes_the_circuit_or_its_writer_sees_that_it_is_closed(table, name):
    """So no message is left to the end of its visibility timeout."""
    await table.change(name, Circuit(), OPENED)

    async def close() -> Circuit:
        assert await table.change(name, OPENED._replace(version=1), Circuit(closed_at=NOW))
        return await circuit_of(table, name)

    closed, *after = await asyncio.gather(close(), *(table.add_page(name, MESSAGES, NOW + 600) for _ in range(5)))
    seen = [len(await table.page(name, number)) for number in range(1, closed.pages + 1)]
    assert len(seen) - seen.count(0) >= sum(not circuit.is_closed for circuit in after)


async def test_names_do_not_affect_each_other(table, name):
    """Also if one is the beginning of the other."""
    await table.change(name, Circuit(), OPENED)
    await table.add_page(name, MESSAGES, NOW + 600)
    await table.count_failures(f"{name}-2", 3, NOW)
    assert await table.read([name, f"{name}-2"]) == [OPENED._replace(version=1, pages=1), Circuit(failures=3)]
    assert list(await table.page(f"{name}-2", 1)) == []


def test_threads_with_separate_event_loops_share_the_table_in_memory():
    """As the environments of a simulation do; no count is lost."""
    table = InMemoryBreakers()

    async def count() -> None:
        for _ in range(200):
            await table.count_failures("orders", 1, NOW)
            await table.add_page("orders", MESSAGES, NOW)

    threads = [threading.Thread(target=asyncio.run, args=[count()]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (circuit,) = asyncio.run(table.read(["orders"]))
    assert (circuit.failures, circuit.pages, circuit.state) == (800, 800, CLOSED)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIMES = st.floats(0, 4e9).map(lambda seconds: round(seconds, 6))
COUNTS = st.integers(0, 3)
CIRCUITS = st.builds(
    Circuit,
    st.sampled_from([CLOSED, OPEN, HALF_OPEN]),
    *[COUNTS] * 2,
    *[TIMES] * 4,
    TEXTS,
    *[TIMES] * 2,
    *[COUNTS] * 2,
    st.booleans(),
)
PAGES = st.lists(st.builds(Held, TEXTS, TEXTS, TIMES, st.integers(0, 999)), min_size=1, max_size=4)
OPERATIONS = (
    st.tuples(st.just("change"), st.integers(0, 20), CIRCUITS)
    | st.tuples(st.just("count_failures"), COUNTS, st.integers(0, 400).map(lambda seconds: NOW + seconds))
    | st.tuples(st.just("add_page"), PAGES, st.just(NOW + 600))
    | st.tuples(st.sampled_from(["page", "released"]), st.integers(1, 4))
)


async def outcomes_of(table: BreakerTable, names: list[str], operations: list[tuple[int, tuple]]) -> list[object]:
    """Run operations on two breakers; return what each returned, and the circuits after it.

    The first argument of a change is the position of an earlier circuit of that breaker, which may have changed since.
    """
    seen: list[list[Circuit]] = [[Circuit()], [Circuit()]]
    outcomes: list[object] = []
    for which, (operation, *arguments) in operations:
        if operation == "change":
            arguments[0] = seen[which][-1 - arguments[0] % len(seen[which])]
        outcome = await getattr(table, operation)(names[which], *arguments)
        circuits = await table.read(names)
        for earlier, circuit in zip(seen, circuits, strict=True):
            earlier.append(circuit)
        outcomes.append((list(outcome) if operation == "page" else outcome, list(circuits)))
    return outcomes


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 1), OPERATIONS), max_size=12))
async def test_any_operations_have_the_same_outcomes_in_memory_as_in_the_table(table, operations):
    """Results, circuits and pages."""
    names = [f"breaker-{uuid.uuid4().hex}" for _ in range(2)]
    expected = await outcomes_of(InMemoryBreakers(), names, operations)
    assert await outcomes_of(table, names, operations) == expected
