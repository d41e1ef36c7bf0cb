"""With a limit for each tenant: none above it, none idle while it may run, none lost, and the order within a tenant."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold._base.fair_ordering import FairOrder, fair_order
from fanfold._base.record import Record
from fanfold._consumer.tenant_queue import TenantQueue
from fanfold.testing import make_record

TENANTS = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=40)


def fair(counts: list[int], tenants: list[str | None], chunk_size: int | None) -> FairOrder:
    """Return the order of a batch by the receive counts and the tenants of its records, with five receives."""
    records = [Record(make_record(str(position), receive_count=count)) for position, count in enumerate(counts)]
    return fair_order(records, chunk_size, lambda record: tenants[int(record.body)], 5)


@settings(max_examples=600)
@given(st.data())
def test_a_limit_for_each_tenant_is_kept_and_leaves_no_slot_idle(data: st.DataObject):
    """Workers start, end, and return lanes in any order."""
    keys = data.draw(TENANTS)
    counts = data.draw(st.lists(st.integers(1, 5), min_size=len(keys), max_size=len(keys)))
    limit, workers = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    chunk_size = data.draw(st.sampled_from([None, 2, 3]))
    order = list(fair(counts, keys, chunk_size).lanes)
    queue, running, started = TenantQueue(FairOrder(iter(order), keys, {}), limit), [], []
    while queue.has_lanes or running:
        while len(running) < workers and queue:
            lane = queue.popleft()
            if data.draw(st.integers(0, 9)) == 9:
                queue.appendleft(lane)
                continue
            running.append(lane)
            started.append(lane)
        in_flight = Counter(keys[lane[0][0]] for lane in running)
        assert all(count <= limit for tenant, count in in_flight.items() if tenant is not None)
        waiting = [lane for lane in order if lane not in started]
        may_run = [lane for lane in waiting if (tenant := keys[lane[0][0]]) is None or in_flight[tenant] < limit]
        assert len(running) == workers or not may_run
        queue.ended(running.pop(data.draw(st.integers(0, len(running) - 1)))[0])
    assert sorted(position for lane in started for position in lane[0]) == list(range(len(keys)))
    for tenant in set(keys) - {None}:
        of_tenant = [lane for lane in started if keys[lane[0][0]] == tenant]
        assert of_tenant == [lane for lane in order if keys[lane[0][0]] == tenant]
        assert all(keys[position] == tenant for lane in of_tenant for position in lane[0])


@given(st.data())
def test_the_fair_order_has_each_record_once_and_no_tenant_gets_ahead(data: st.DataObject):
    """Unless they are on their last receive, a tenant starts at most one more than any other that has some left."""
    keys = data.draw(TENANTS)
    counts = data.draw(st.lists(st.integers(1, 5), min_size=len(keys), max_size=len(keys)))
    order = [position for ((position,),) in fair(counts, keys, None).lanes]
    assert sorted(order) == list(range(len(keys)))
    last = sum(count == 5 for count in counts)
    assert all((counts[position] == 5) == (index < last) for index, position in enumerate(order))
    started: Counter[str | None] = Counter()
    left = Counter(keys[position] for position in order[last:])
    for position in order[last:]:
        key = keys[position]
        if key is not None:
            assert all(started[key] <= started[other] for other in left if other is not None and left[other])
        started[key] += 1
        left[key] -= 1
    for tenant in {key for key in keys if key is not None}:
        received = [counts[position] for position in order if keys[position] == tenant]
        assert received == sorted(received, reverse=True)
