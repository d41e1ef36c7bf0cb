"""The fair order: round robin over the tenants of a batch."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from fanfold._base.fair_ordering import body_field, fair_order
from fanfold._base.ordering import lanes
from fanfold._base.record import Record, Records
from fanfold.testing import make_record

FIFO_ARN = "arn:aws:sqs:eu-central-1:123456789012:orders.fifo"


def batch(groups: str, counts: Sequence[int] = (), bodies: Sequence[str] = ()) -> Records:
    """Return a batch with a message group for each letter, and none for a hyphen."""
    return Records(
        [
            make_record(
                bodies[position] if bodies else f"body {position}",
                receive_count=counts[position] if counts else 1,
                attributes={} if group == "-" else {"MessageGroupId": group},
            )
            for position, group in enumerate(groups)
        ]
    )


def order(records: Records, chunk_size: int | None = None, max_receives: int | None = None) -> list[tuple[int, ...]]:
    """Return the units of a batch in their order."""
    return [unit for lane in fair_order(records, chunk_size, None, max_receives).lanes for unit in lane]


def positions(records: Records, max_receives: int | None = None) -> list[int]:
    """Return the positions of a batch in their order."""
    return [position for (position,) in order(records, max_receives=max_receives)]


def test_each_round_starts_one_record_of_every_tenant():
    """Two records of a quiet tenant start within the first two rounds."""
    assert positions(batch("aaaaabab")) == [0, 5, 1, 7, 2, 3, 4, 6]


@pytest.mark.parametrize("groups", ["aaaa", "----", ""])
def test_one_tenant_or_none_keeps_the_order_of_the_batch(groups: str):
    """A record without a message group is a tenant by itself."""
    assert positions(batch(groups)) == list(range(len(groups)))


def test_records_without_a_tenant_start_in_the_first_round():
    """Each is the first record of its tenant."""
    assert positions(batch("aa-a-")) == [0, 2, 4, 1, 3]


def test_within_a_tenant_the_most_received_records_start_first():
    """The rounds are those of the order by receive count."""
    assert positions(batch("aabb", [1, 3, 1, 2])) == [1, 3, 0, 2]


def test_a_record_on_its_last_receive_starts_before_all_others():
    """With five receives, the records of tenant a on their fifth start first."""
    records = batch("aaab", [5, 5, 2, 1])
    assert positions(records, max_receives=5) == [0, 1, 2, 3]
    assert positions(records) == [0, 3, 1, 2]
    assert positions(records, max_receives=6) == [0, 3, 1, 2]


def test_a_unit_contains_records_of_one_tenant():
    """Chunks are cut within a tenant; records without one share a chunk."""
    assert order(batch("aaabb--", [1] * 7), chunk_size=2) == [(0, 1), (3, 4), (5, 6), (2,)]


def test_a_fifo_queue_keeps_its_order():
    """Its message groups are lanes, as without this setting."""
    records = Records([make_record(queue_arn=FIFO_ARN, attributes={"MessageGroupId": group}) for group in "abab"])
    order = fair_order(records, None)
    assert (list(order.lanes), order.tenants) == (list(lanes(records, None)), [None] * 4)


def test_an_invalid_tenant_fails_its_record_only():
    """A function that raises, or returns something unhashable or an awaitable, leaves the other records alone."""

    async def later() -> str:
        return "never"

    returned = {0: "a", 1: ["b"], 2: None}

    def tenant_of(record: Record) -> object:
        position = int(record.body.removeprefix("body "))
        return later() if position == 3 else asyncio.Future(loop=loop) if position == 4 else returned[position]

    loop = asyncio.new_event_loop()
    records = batch("------")
    fair = fair_order(records, None, tenant_of)
    loop.close()
    assert fair.tenants == ["a", None, None, None, None, None]
    assert {position: (type(error), str(error)) for position, error in fair.errors.items()} == {
        1: (TypeError, "tenant must return a hashable value, such as a string, not list"),
        3: (TypeError, "tenant must return a value, not an awaitable: it cannot be an async def"),
        4: (TypeError, "tenant must return a value, not an awaitable: it cannot be an async def"),
        5: (KeyError, "5"),
    }
    assert [unit for (unit,) in fair.lanes] == [(0,), (2,)]


@pytest.mark.parametrize(
    ("body", "tenant"),
    [('{"customer": "a"}', "a"), ('{"customer": 7}', 7), ('{"other": 1}', None), ("[1]", None), ("{", None)],
)
def test_a_tenant_can_be_a_field_of_the_body(body: str, tenant: object):
    """Without the field, a record is a tenant by itself."""
    fair = fair_order(batch("-", bodies=[body]), None, body_field("customer"))
    assert (fair.tenants, fair.errors) == ([tenant], {})


def test_a_field_that_is_not_hashable_fails_its_record():
    """A list is not a tenant."""
    records = batch("-", bodies=[json.dumps({"customer": [1]})])
    (error,) = fair_order(records, None, body_field("customer")).errors.values()
    assert "not list" in str(error)


def test_a_list_of_records_has_tenants_too():
    """A caller may pass records that it created."""
    assert fair_order(list(batch("a-")), None).tenants == ["a", None]
