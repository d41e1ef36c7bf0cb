"""What becomes of an order; ``fanfold.testing`` needs no AWS."""

from app import handler

from fanfold import Done
from fanfold.testing import Simulator, deliver

ORDER = {"order": "o-1", "lines": [{"price": 2.5, "count": 4}, {"price": 1, "count": 1}]}


def simulator() -> Simulator:
    """A queue and a mapping with the settings of the template; no time passes, and nothing reaches AWS."""
    return Simulator(
        handler,
        batch_size=100,
        window_seconds=1,
        maximum_concurrency=10,
        visibility_timeout=361,
        max_receive_count=5,
        function_timeout=60,
    )


def test_an_order_is_priced():
    """And its message is acknowledged."""
    result = deliver(handler, ORDER)
    assert result.outcomes == [Done(11.0)]
    assert result.response == {"batchItemFailures": []}


def test_what_cannot_be_priced_becomes_a_dead_letter_with_its_reason():
    """At once, and alone: the rest of its batch is done."""
    with simulator() as queue:
        queue.send(ORDER, {"order": "o-2"}, {"order": "o-3", "lines": [{"price": 3}]}, "not JSON", ORDER)
        queue.run()
    reasons = [letter.message_attributes["fanfold"]["stringValue"] for letter in queue.dead_letters]
    assert len(queue.deliveries) == 1
    assert len(reasons) == 3
    assert any("an order without lines" in reason for reason in reasons)


def test_what_fails_for_another_reason_is_tried_five_times():
    """A price that is no finite number makes an error that is not in ``reject_on``."""
    with simulator() as queue:
        queue.send({"order": "o-4", "lines": [{"price": 1e308, "count": 10**400}]})
        queue.run()
    assert len(queue.deliveries) == 5
    assert len(queue.dead_letters) == 1
