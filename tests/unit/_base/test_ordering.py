"""The order in which the records of a batch start."""

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


def test_a_queue_is_fifo_if_its_arn_ends_in_fifo():
    """Only the ARN of the queue decides."""
    assert is_fifo(fifo("a"))
    assert not is_fifo(standard(1))


def test_a_message_group_on_a_standard_queue_is_a_tenant():
    """Fair queues use message groups on standard queues; these groups have no order."""
    records = [Record(make_record(attributes={"MessageGroupId": "tenant"})) for _ in range(3)]
    assert not is_fifo(records)
    assert units(records) == [[(0,)], [(1,)], [(2,)]]


def test_an_empty_batch_has_no_lanes():
    """An empty batch counts as a batch of a standard queue."""
    assert not is_fifo([])
    assert units([]) == []
    assert units([], 5) == []


def test_records_with_equal_receive_counts_start_in_batch_order():
    """Each record is a separate lane."""
    assert units(standard(3, 3, 3)) == [[(0,)], [(1,)], [(2,)]]


def test_records_received_most_often_start_first():
    """Records with equal receive counts keep their order."""
    assert units(standard(1, 3, 2, 3, 1)) == [[(1,)], [(3,)], [(2,)], [(0,)], [(4,)]]


def test_receive_counts_are_compared_as_numbers():
    """A receive count of 10 is higher than 9."""
    assert units(standard(9, 10)) == [[(1,)], [(0,)]]


def test_a_standard_batch_is_cut_into_units_after_it_is_ordered():
    """The records with the highest receive count share the first call; the last call gets the remaining ones."""
    assert units(standard(1, 1, 1, 4, 4), 2) == [[(3, 4)], [(0, 1)], [(2,)]]


def test_with_a_chunk_size_of_one_each_record_is_a_unit():
    """The handler then receives lists with one record."""
    assert units(standard(1, 1), 1) == [[(0,)], [(1,)]]


def test_a_message_group_is_a_lane_in_batch_order():
    """Receive counts do not change the order within a group."""
    records = fifo("abacb")
    records[2] = Record(
        make_record(queue_arn=FIFO_ARN, receive_count=9, attributes={"MessageGroupId": "a"}, message_id="m")
    )
    assert units(records) == [[(0,), (2,)], [(1,), (4,)], [(3,)]]


def test_a_message_group_is_cut_into_units():
    """No unit contains records of two groups."""
    assert units(fifo("aababa"), 2) == [[(0, 1), (3, 5)], [(2, 4)]]


def test_records_without_a_group_form_one_group():
    """On a FIFO queue, these records are processed one after another."""
    records = [Record(make_record(queue_arn=FIFO_ARN)), *fifo("a"), Record(make_record(queue_arn=FIFO_ARN))]
    assert [group_of(record) for record in records] == ["", "a", ""]
    assert units(records) == [[(0,), (2,)], [(1,)]]


@pytest.mark.parametrize(
    "stops", [Failed(ValueError()), Retrying(None), Rejected("never"), NotStarted("no time")], ids=type
)
def test_no_record_is_acknowledged_after_an_unacknowledged_one_of_its_group(stops):
    """This holds for every outcome that is not acknowledged; other groups are not affected."""
    assert in_order(fifo("aaab"), [Done(1), stops, Done(2), Done(3)]) == [Done(1), stops, BLOCKED_IN_GROUP, Done(3)]


def test_a_forwarded_reject_does_not_block_its_group():
    """A message that the dead-letter queue has accepted is acknowledged."""
    outcomes = [Rejected("never", forwarded=True), Done(1)]
    assert in_order(fifo("aa"), outcomes) == outcomes


def test_a_forwarded_reject_after_a_failure_is_not_acknowledged():
    """The message is redelivered after the failed one."""
    failed = Failed(ValueError())
    assert in_order(fifo("aa"), [failed, Rejected("never", forwarded=True)]) == [failed, BLOCKED_IN_GROUP]


def test_a_failure_after_a_failure_keeps_its_outcome():
    """Only outcomes that would be acknowledged are replaced."""
    first, second = Failed(ValueError()), Failed(TypeError())
    assert in_order(fifo("aa"), [first, second]) == [first, second]


def test_the_list_of_outcomes_is_not_changed():
    """The function returns a new list."""
    outcomes = [Retrying(None), Done(1)]
    in_order(fifo("aa"), outcomes)
    assert outcomes == [Retrying(None), Done(1)]
