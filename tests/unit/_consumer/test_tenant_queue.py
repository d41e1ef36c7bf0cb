"""At most a number of records of each tenant are in flight."""

import pytest

from fanfold._base.fair_ordering import FairOrder
from fanfold._base.ordering import Lane
from fanfold._consumer.tenant_queue import TenantQueue


def queue(tenants: str, limit: int) -> TenantQueue:
    """Return a queue of one record for each letter, and of a record without a tenant for a hyphen."""
    keys = [None if tenant == "-" else tenant for tenant in tenants]
    return TenantQueue(FairOrder(iter([[(position,)] for position in range(len(tenants))]), keys, {}), limit)


def taken(lanes: TenantQueue) -> list[int]:
    """Take all lanes that may start now, and return their positions."""
    return [lane[0][0] for lane in lanes]


def test_a_tenant_at_its_limit_lets_others_start():
    """Its further records are held, in their order."""
    lanes = queue("aaab-a-", 2)
    assert taken(lanes) == [0, 1, 3, 4, 6]
    assert not lanes
    assert lanes.has_lanes


def test_an_end_gives_the_place_to_a_record_that_is_held():
    """It starts before the records that nobody has looked at."""
    lanes = queue("aaac", 1)
    assert lanes.popleft() == [(0,)]
    assert lanes.popleft() == [(3,)]
    lanes.ended((0,))
    assert lanes.popleft() == [(1,)]
    lanes.ended((1,))
    assert lanes.popleft() == [(2,)]
    assert not lanes.has_lanes


def test_an_end_without_a_held_record_frees_a_place():
    """A later record of the tenant may start."""
    lanes = queue("a-a", 1)
    assert lanes.popleft() == [(0,)]
    lanes.ended((0,))
    assert taken(lanes) == [1, 2]


def test_the_end_of_a_record_without_a_tenant_changes_nothing():
    """No limit applies to it."""
    lanes = queue("-aa", 1)
    assert taken(lanes) == [0, 1]
    lanes.ended((0,))
    assert not lanes


def test_a_lane_that_is_returned_starts_next_and_keeps_its_place():
    """The order within its tenant stays."""
    lanes = queue("aab", 1)
    lane: Lane = lanes.popleft()
    lanes.appendleft(lane)
    assert taken(lanes) == [0, 2]


def test_looking_for_a_lane_does_not_take_it():
    """The place that the look has taken belongs to the lane that it found."""
    lanes = queue("ab", 1)
    assert lanes
    assert lanes
    assert taken(lanes) == [0, 1]
    assert not lanes


def test_an_empty_queue_has_nothing_to_start():
    """``popleft`` raises as that of a deque."""
    with pytest.raises(IndexError, match="no lane may start now"):
        queue("", 1).popleft()
