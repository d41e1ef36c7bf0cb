"""Tools for testing handlers: sample events, records and contexts, a manual clock, ``deliver``, and a simulator.

::

    from fanfold.testing import deliver

    def test_an_order_without_a_customer_is_redelivered():
        result = deliver(handler, {"customer": None})
        assert result.response == {"batchItemFailures": [{"itemIdentifier": "message-0"}]}
"""

from __future__ import annotations

from fanfold._base.sample_events import (
    FakeContext,
    ManualClock,
    make_context,
    make_event,
    make_eventbridge_record,
    make_extended_record,
    make_fair_record,
    make_fifo_record,
    make_record,
    make_s3_record,
    make_sns_record,
)
from fanfold._replay.scaling import ManagedInstances, Pollers
from fanfold._replay.simulator import Simulator
from fanfold.testing.delivery import deliver
from fanfold.testing.faults import Faulty, Ok, Partial, Throttled

__all__ = [
    "FakeContext",
    "Faulty",
    "ManagedInstances",
    "ManualClock",
    "Ok",
    "Partial",
    "Pollers",
    "Simulator",
    "Throttled",
    "deliver",
    "make_context",
    "make_event",
    "make_eventbridge_record",
    "make_extended_record",
    "make_fair_record",
    "make_fifo_record",
    "make_record",
    "make_s3_record",
    "make_sns_record",
]
