"""When a message on its last receive starts although a breaker is open: decided from values and a manual clock."""

import math
from types import SimpleNamespace

import pytest

from fanfold import Record
from fanfold._base.deadline import Deadline
from fanfold._breakers.breaker_state import PROBE_POLL_SECONDS
from fanfold._breakers.transitions import opened
from fanfold._consumer.held_records import HeldRecords
from fanfold._ports.breakers import Circuit
from fanfold.testing import ManualClock
from outage_consumers import message
from recorded_outage import Outage


@pytest.mark.parametrize(("ends_at", "waits", "tries_at"), [(100, True, 50), (math.inf, True, 15), (100, False, 0)])
def test_a_message_on_its_last_receive_waits_for_half_of_the_invocation(ends_at, waits, tries_at):
    """Without a deadline, for 15 seconds; others wait as long as the breaker asks for."""
    outage, clock = Outage(), ManualClock()
    state = outage.state()
    state.adopt(opened(Circuit(), outage.clock(), probe_every=30))
    breakers = SimpleNamespace(
        holding=SimpleNamespace(state=state), max_receives=5, wait_in_invocation=waits, redelivered=bool
    )
    records = [Record(message(0, receive_count=5)), Record(message(1))]
    held = HeldRecords(records, breakers, Deadline(ends_at, clock=clock))
    assert held.wait((1,), tries_at, math.inf) == math.inf
    assert held.wait((0,), tries_at, math.inf) == 0
    if tries_at:
        assert held.wait((0,), 0, math.inf) == PROBE_POLL_SECONDS
        assert held.wait((0,), tries_at - 0.01, math.inf) == pytest.approx(0.01)
    breakers.holding = None
    assert held.wait((0,), tries_at, 7) == 7
