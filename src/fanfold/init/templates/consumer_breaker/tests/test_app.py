"""Tests of the handler. ``fanfold.testing`` needs no AWS."""

import pytest
from app import handler, is_down

from fanfold import Done
from fanfold.testing import Simulator, deliver

ORDER = {"order": "o-1", "lines": [{"price": 2.5, "count": 4}, {"price": 1, "count": 1}]}
NO_SERVER = "http://127.0.0.1:9"


def simulator() -> Simulator:
    """Return a simulated queue and mapping with the settings of the template. Time is simulated, too."""
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
    """Its message is acknowledged."""
    result = deliver(handler, ORDER)
    assert result.outcomes == [Done(11.0)]
    assert result.response == {"batchItemFailures": []}


def test_an_order_that_cannot_be_priced_is_sent_to_the_dead_letter_queue_with_the_reason():
    """After the first delivery. The other orders of the batch succeed."""
    with simulator() as queue:
        queue.send(ORDER, {"order": "o-2"}, {"order": "o-3", "lines": [{"price": 3}]}, "not JSON", ORDER)
        queue.run()
    reasons = [letter.message_attributes["fanfold"]["stringValue"] for letter in queue.dead_letters]
    assert len(queue.deliveries) == 1
    assert len(reasons) == 3
    assert any("an order without lines" in reason for reason in reasons)


@pytest.mark.parametrize("hours", [1, 8])
def test_an_outage_of_hours_costs_no_message(hours: int, monkeypatch: pytest.MonkeyPatch):
    """The service refuses connections until it recovers. Without the breaker, all orders would be dead letters."""
    monkeypatch.setenv("SERVICE_URL", NO_SERVER)
    with simulator() as queue:
        queue.send(*[ORDER] * 20)
        queue.at(hours * 3600, lambda: monkeypatch.delenv("SERVICE_URL"))
        queue.run()
    assert not queue.dead_letters
    assert not list(queue.queue.messages())


def test_an_order_that_always_fails_is_dead_lettered_after_five_deliveries():
    """A price that is not finite raises an error that does not mean that the service is down."""
    with simulator() as queue:
        queue.send({"order": "o-4", "lines": [{"price": 1e308, "count": 10**400}]})
        queue.run()
    assert len(queue.deliveries) == 5
    assert len(queue.dead_letters) == 1


@pytest.mark.parametrize(
    ("error", "down"), [(ConnectionRefusedError(), True), (TimeoutError(), True), (ValueError(), False)]
)
def test_only_errors_of_the_service_mean_that_it_is_down(error: Exception, down: bool):
    """An invalid order must not open the breaker."""
    assert is_down(error) is down
