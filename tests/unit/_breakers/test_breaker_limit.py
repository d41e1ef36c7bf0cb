"""The breakers of a consumer as a limit of admission."""

import math

import pytest

from fanfold._base.outcome import Done, Failed
from fanfold._breakers.breaker_limit import BreakerLimit, errors_in
from fanfold._breakers.breaker_state import POLL_SECONDS, UNLIMITED, BreakerState
from fanfold._breakers.counted import marked
from fanfold._breakers.transitions import claimed, opened
from fanfold._breakers.window import RESULTS
from fanfold._ports.breakers import Circuit
from recorded_outage import DownError, Outage


class Inner:
    """A limit that adjusts itself, with values that a test chooses."""

    reason = "the service was overloaded"
    delays_messages = True

    def __init__(self) -> None:
        self.workers = 10
        self.seconds = 0.0
        self.batches = 0
        self.changes = False

    def batch_starts(self) -> None:
        self.batches += 1

    def wait(self, now: float, running: int) -> float:
        return self.seconds

    def started(self, now: float, running: int) -> float:
        return now + 1

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        return self.changes

    def delay_after(self, error: BaseException) -> float | None:
        return 60.0


@pytest.fixture
def outage() -> Outage:
    return Outage()


def healthy(outage: Outage, **settings) -> BreakerState:
    """Return a state whose circuit is closed, and that limits nothing."""
    state = outage.state(**settings)
    state.has_read()
    state.ended(outage.clock(), outage.clock(), failed=False)
    return state


def open_now(state: BreakerState, outage: Outage) -> None:
    state.adopt(opened(Circuit(), outage.clock(), probe_every=30))


def test_without_an_outage_the_other_limits_apply(outage):
    """Both breakers let everything start."""
    limit = BreakerLimit([healthy(outage), healthy(outage, name="stock")], None, 50)
    assert (limit.workers, limit.wait(0, 1), limit.delays_messages) == (50, 0, False)
    assert limit.started(0, 1) == math.inf
    assert limit.delay_after(DownError()) is None
    limit.batch_starts()
    assert not any(state.has_work for state in limit.states)


def test_a_limit_that_adjusts_itself_applies_within_the_breakers(outage):
    """It may let fewer records start, and delay messages."""
    inner = Inner()
    limit = BreakerLimit([healthy(outage)], inner, 50)
    inner.seconds = 3
    limit.batch_starts()
    assert (limit.workers, limit.wait(0, 1), limit.reason) == (10, 3, "the service was overloaded")
    assert (limit.delays_messages, limit.started(5, 1), limit.delay_after(DownError())) == (True, 6, 60)
    assert inner.batches == 1


def test_an_open_breaker_lets_nothing_start(outage):
    """It states its name as the reason, and its messages are delayed elsewhere."""
    states = [healthy(outage), healthy(outage, name="stock")]
    limit = BreakerLimit(states, Inner(), 50)
    open_now(states[1], outage)
    assert limit.wait(0, 1) == math.inf
    assert (limit.holding, limit.reason, limit.delays_messages) == (states[1], "breaker 'stock' is open", False)


def test_a_probe_is_one_record(outage):
    """The next start has to ask again, whatever the limit is."""
    state = healthy(outage)
    limit = BreakerLimit([state], Inner(), 50)
    open_now(state, outage)
    state.adopt(claimed(state.circuit, outage.clock(), state.owner, 60))
    assert limit.wait(0, 0) == 0
    assert limit.started(0, 0) == -math.inf
    assert limit.wait(0, 1) > 0


def test_workers_that_waited_while_it_was_open_start_slowly(outage):
    """As many as the limit allows, although there are more of them."""
    state = outage.state()
    limit = BreakerLimit([state], None, 50)
    open_now(state, outage)
    state.adopt(Circuit())
    limit.adjust()
    assert (limit.workers, limit.wait(0, 0), limit.wait(0, 1)) == (1, 0, POLL_SECONDS)
    assert (limit.holding, limit.reason) == (None, "after an outage, records start slowly")


def test_a_batch_has_the_circuits_read(outage):
    """In a new execution environment; nothing starts before."""
    limit = BreakerLimit([outage.state(), outage.state(name="stock")], None, 50)
    limit.batch_starts()
    assert all(state.take_work().reads for state in limit.states)
    assert (limit.workers, limit.wait(0, 0)) == (1, POLL_SECONDS)


def test_an_open_breaker_does_not_limit_the_workers(outage):
    """They wait, and those of a closed one in slow start are few."""
    states = [healthy(outage), outage.state(name="stock")]
    limit = BreakerLimit(states, None, 50)
    assert limit.workers == 1
    open_now(states[1], outage)
    assert limit.adjust()
    assert limit.workers == 50
    assert not limit.adjust()


def test_a_success_ends_the_cold_start_of_every_breaker(outage):
    """One line of code has shown that all services work."""
    states = [outage.state(), outage.state(name="stock")]
    limit = BreakerLimit(states, None, 50)
    assert limit.ended(outage.clock(), outage.clock(), None, 1)
    assert [state.workers for state in states] == [UNLIMITED] * 2
    assert limit.workers == 50
    assert not limit.ended(outage.clock(), outage.clock(), "a value", 1)


def test_an_error_counts_for_the_breaker_that_it_matches(outage):
    """And for no other one; it does not show that the others' services work."""
    states = [outage.state(), outage.state(name="stock", on=KeyError)]
    limit = BreakerLimit(states, None, 50)
    limit.ended(outage.clock(), outage.clock(), DownError(), 1)
    assert [state.take_work().failures for state in states] == [1, 0]
    assert [state.workers for state in states] == [1, 2]


def test_another_error_counts_for_none(outage):
    """A bad message does not show whether a service works."""
    state = outage.state()
    limit = BreakerLimit([state], None, 50)
    for _ in range(2 * RESULTS):
        limit.ended(outage.clock(), outage.clock(), ValueError(), 1)
    assert not state.has_work
    assert not state.is_quiet


def test_an_error_that_a_block_has_counted_does_not_count_again(outage):
    """``with breaker:`` in a handler of the same breaker."""
    state = outage.state()
    limit = BreakerLimit([state], None, 50)
    limit.ended(outage.clock(), outage.clock(), marked(DownError(), object()), 1)
    assert not state.has_work


def test_a_list_is_one_result(outage):
    """Of a handler of lists: one failure in it counts once, and its other records show nothing."""
    state = outage.state()
    limit = BreakerLimit([state], None, 50)
    limit.ended(outage.clock(), outage.clock(), [None, DownError(), Failed(DownError()), Done(1)], 1)
    assert state.take_work().failures == 1
    limit.ended(outage.clock(), outage.clock(), [None, Done(1)], 1)
    assert state.workers == UNLIMITED


def test_a_service_that_works_makes_the_limit_quiet(outage):
    """Then a record costs nothing; a limit that adjusts itself asks for each record."""
    state, with_inner = outage.state(), BreakerLimit([], Inner(), 50)
    limit = BreakerLimit([state], None, 50)
    for _ in range(RESULTS):
        assert not limit.is_quiet
        limit.ended(outage.clock(), outage.clock(), None, 1)
    assert limit.is_quiet
    with_inner.adjust()
    assert not with_inner.is_quiet


def test_a_change_of_the_limit_inside_is_taken_over(outage):
    """It is the smaller one."""
    inner = Inner()
    limit = BreakerLimit([healthy(outage)], inner, 50)
    inner.workers, inner.changes = 20, True
    assert limit.ended(outage.clock(), outage.clock(), None, 1)
    assert limit.workers == 20


def test_the_errors_of_what_a_handler_returned():
    """Of one record, or of a list; nothing else is asked for its class."""
    error = DownError()

    class OddError(ValueError):
        @property
        def __class__(self):
            raise AssertionError

    odd = OddError()
    assert errors_in(None) == errors_in("value") == errors_in([]) == []
    assert errors_in(error) == errors_in(Failed(error)) == errors_in([None, error, 1]) == [error]
    assert errors_in(odd)[0] is odd
