"""Tests of the handler. ``fanfold.testing`` needs no AWS."""

from app import handler

from fanfold import Done
from fanfold.testing import Simulator, deliver, make_fifo_record

ORDER = {"order": "o-1", "lines": [{"price": 2.5, "count": 4}, {"price": 1, "count": 1}]}
FAILS = {"order": "o-4", "lines": [{"price": 1e308, "count": 10**400}]}  # an error that is not in ``reject_on``


def simulator() -> Simulator:
    """Return a simulated queue and mapping with the settings of the template. Time is simulated, too."""
    return Simulator(
        handler,
        fifo=True,
        batch_size=10,
        maximum_concurrency=10,
        visibility_timeout=360,
        max_receive_count=5,
        function_timeout=60,
    )


def test_an_order_is_priced():
    """Its message is acknowledged."""
    result = deliver(handler, records=[make_fifo_record(ORDER, group="customer-1")])
    assert result.outcomes == [Done(11.0)]
    assert result.response == {"batchItemFailures": []}


def test_a_failure_stops_only_its_message_group():
    """The later orders of the same customer wait for the one that failed; other customers do not."""
    orders = [("customer-1", FAILS), ("customer-1", ORDER), ("customer-2", ORDER)]
    records = [make_fifo_record(order, group=group, message_id=str(n)) for n, (group, order) in enumerate(orders)]
    result = deliver(handler, records=records)
    assert [failure["itemIdentifier"] for failure in result.response["batchItemFailures"]] == ["0", "1"]


def test_an_order_that_cannot_be_priced_is_sent_to_the_dead_letter_queue_with_the_reason():
    """After the first delivery. The next order of the same group is then processed."""
    with simulator() as queue:
        queue.send({"order": "o-2", "lines": []}, ORDER)
        queue.run()
    (letter,) = queue.dead_letters
    assert "an order without lines" in letter.message_attributes["fanfold"]["stringValue"]
    assert len(queue.deliveries) == 1


def test_an_order_that_fails_with_another_error_is_delivered_five_times():
    """Then it is dead-lettered, and the rest of its group continues."""
    with simulator() as queue:
        queue.send(FAILS)
        queue.run()
    assert len(queue.deliveries) == 5
    assert len(queue.dead_letters) == 1
