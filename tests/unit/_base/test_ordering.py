"""The order of a batch."""

import pytest

from fanfold import Done, Failed, NotStarted, Record, Rejected, Retrying
from fanfold._base.ordering import group_of, in_order, lanes
from fanfold._base.outcome import BLOCKED_IN_GROUP
from fanfold._base.record import is_fifo
from fanfold.testing import make_record

FIFO_ARN = "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"


def standard(*receive_counts: int) -> list[Record]:
    return [Record(make_record(receive_count=count)) for count in receive_counts]


def fifo(groups: str) -> list[Record]:
    return [Record(make_record(queue_arn=FIFO_ARN, attributes={"MessageGroupId": group})) for group in groups]


def units(records: list[Record], chunk_size: int | None = None) -> list[list[tuple[int, ...]]]:
    return [list(lane) for lane in lanes(records, chunk_size)]


def test_a_queue_is_fifo_by_the_end_of_its_arn():
    """Its name says so, and nothing else does."""
    assert is_fifo(fifo("a"))
    assert not is_fifo(standard(1))


def test_a_message_group_on_a_standard_queue_is_a_tenant():
    """Fair queues put groups on standard queues: they are not an order."""
    records = [Record(make_record(attributes={"MessageGroupId": "tenant"})) for _ in range(3)]
    assert not is_fifo(records)
    assert units(records) == [[(0,)], [(1,)], [(2,)]]


def test_an_empty_batch_has_no_lanes():
    """And is not FIFO."""
    assert not is_fifo([])
    assert units([]) == []
    assert units([], 5) == []


def test_records_received_as_often_start_in_batch_order():
    """Each in a lane of its own."""
    assert units(standard(3, 3, 3)) == [[(0,)], [(1,)], [(2,)]]


def test_records_received_most_often_start_first():
    """Those received as often keep their order among themselves."""
    assert units(standard(1, 3, 2, 3, 1)) == [[(1,)], [(3,)], [(2,)], [(0,)], [(4,)]]


def test_receive_counts_are_compared_as_numbers():
    """Ten is more than nine."""
    assert units(standard(9, 10)) == [[(1,)], [(0,)]]


def test_a_standard_batch_is_cut_into_units_after_it_is_ordered():
    """The most received share the first call; the last call has what is left."""
    assert units(standard(1, 1, 1, 4, 4), 2) == [[(3, 4)], [(0, 1)], [(2,)]]


def test_a_chunk_size_of_one_is_a_unit_for_each_record():
    """The handler then gets lists of one."""
    assert units(standard(1, 1), 1) == [[(0,)], [(1,)]]


def test_a_message_group_is_a_lane_in_batch_order():
    """However often its records were received."""
    records = fifo("abacb")
    records[2] = Record(
        make_record(queue_arn=FIFO_ARN, receive_count=9, attributes={"MessageGroupId": "a"}, message_id="m")
    )
    assert units(records) == [[(0,), (2,)], [(1,), (4,)], [(3,)]]


def test_a_message_group_is_cut_into_units():
    """No unit holds records of two groups."""
    assert units(fifo("aababa"), 2) == [[(0, 1), (3, 5)], [(2, 4)]]


def test_a_record_without_a_group_is_of_the_nameless_group():
    """On a FIFO queue such records follow one another."""
    records = [Record(make_record(queue_arn=FIFO_ARN)), *fifo("a"), Record(make_record(queue_arn=FIFO_ARN))]
    assert [group_of(record) for record in records] == ["", "a", ""]
    assert units(records) == [[(0,), (2,)], [(1,)]]


@pytest.mark.parametrize(
    "stops", [Failed(ValueError()), Retrying(None), Rejected("never"), NotStarted("no time")], ids=type
)
def test_nothing_is_acknowledged_behind_what_is_not(stops):
    """Whatever stopped the group; the other group is not touched."""
    assert in_order(fifo("aaab"), [Done(1), stops, Done(2), Done(3)]) == [Done(1), stops, BLOCKED_IN_GROUP, Done(3)]


def test_a_forwarded_reject_stops_nothing():
    """The dead-letter queue has it: it counts as done."""
    outcomes = [Rejected("never", forwarded=True), Done(1)]
    assert in_order(fifo("aa"), outcomes) == outcomes


def test_a_forwarded_reject_behind_a_failure_is_not_acknowledged():
    """It comes back after what has to come before it."""
    failed = Failed(ValueError())
    assert in_order(fifo("aa"), [failed, Rejected("never", forwarded=True)]) == [failed, BLOCKED_IN_GROUP]


def test_what_failed_behind_a_failure_keeps_its_own_outcome():
    """Only what would be acknowledged is held back."""
    first, second = Failed(ValueError()), Failed(TypeError())
    assert in_order(fifo("aa"), [first, second]) == [first, second]


def test_the_outcomes_given_are_left_as_they_were():
    """A new list is returned."""
    outcomes = [Retrying(None), Done(1)]
    in_order(fifo("aa"), outcomes)
    assert outcomes == [Retrying(None), Done(1)]
