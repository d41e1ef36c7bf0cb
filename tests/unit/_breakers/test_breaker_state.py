"""The knowledge of one execution environment about a breaker, and its decisions."""

import math

import pytest

from fanfold._breakers.breaker_state import NOTHING, POLL_SECONDS, PROBE_POLL_SECONDS, UNLIMITED, BreakerState
from fanfold._breakers.transitions import claimed, closed, opened
from fanfold._ports.breakers import Circuit
from recorded_outage import START, Outage

FAILED, OTHER_ERROR, SUCCEEDED = True, None, False


@pytest.fixture
def outage() -> Outage:
    return Outage()


def known(outage: Outage, circuit: Circuit | None = None) -> BreakerState:
    """Return a state whose circuit was read."""
    state = outage.state()
    state.batch_starts()
    state.take_work()
    state.adopt(circuit or Circuit())
    state.has_read()
    return state


def end(state: BreakerState, outage: Outage, *results: bool | None) -> list[bool]:
    """Start and end records one after the other; return whether each end changed what may start."""
    changes = []
    for result in results:
        state.started()
        changes.append(state.ended(outage.clock(), outage.clock(), result))
    return changes


def opened_now(outage: Outage) -> Circuit:
    return opened(Circuit(), outage.clock(), probe_every=30)


def probing_of(state: BreakerState, outage: Outage) -> Circuit:
    return claimed(opened_now(outage), outage.clock(), state.owner, 60)


def test_a_new_execution_environment_reads_the_circuit_before_the_first_record(outage):
    """The service may be down already."""
    state, woken = outage.state(), list[int]()
    state.wakes = lambda: woken.append(1)
    assert not state.has_work
    state.batch_starts()
    assert (state.has_work, woken) == (True, [1])
    assert state.wait(outage.clock()) == POLL_SECONDS
    assert not state.is_idle
    assert state.take_work() == NOTHING._replace(reads=True)
    assert state.wait(outage.clock()) == POLL_SECONDS  # until it has been read
    state.has_read()
    assert state.wait(outage.clock()) == 0
    assert state.is_idle
    state.batch_starts()
    assert not state.has_work  # no read while healthy


def test_a_listener_is_notified_when_the_circuit_was_read(outage):
    """Records that wait may start."""
    state, notified = outage.state(), list[bool]()
    state.listeners.append(lambda: notified.append(state.is_open))
    state.has_read()
    state.adopt(opened_now(outage))
    state.forget()
    assert notified == [False, True, False]


@pytest.mark.parametrize("circuit", [opened(Circuit(), START, probe_every=30), Circuit(pages=2, released=1)])
def test_each_batch_reads_a_circuit_that_is_open_or_has_messages_to_make_visible(outage, circuit):
    """Another execution environment may have closed it, or have been ended."""
    state = known(outage, circuit)
    state.batch_starts()
    assert state.take_work().reads


def test_after_an_outage_the_circuit_is_read_again_now_and_then(outage):
    """A batch that began in the outage may store messages until it ends, in an environment that is then gone."""
    state = known(outage, closed(opened_now(outage), outage.clock()))
    reads = []
    for _ in range(200):
        outage.clock.advance(10)
        state.batch_starts()
        reads.append(state.take_work().reads)
        if reads[-1]:
            state.has_read()
    assert sum(reads) == sum(reads[:180]) == 60


def test_a_redelivered_message_has_the_circuit_read_after_five_seconds(outage):
    """It may have been invisible, and be the probe; a closed circuit is read no more often."""
    state = known(outage)
    state.redelivered()
    assert not state.has_work
    outage.clock.advance(5)
    state.redelivered()
    assert state.take_work().reads


def test_a_redelivered_message_reads_nothing_that_is_read_anyway(outage):
    """The circuit is open, or was never read."""
    fresh, opened_state = outage.state(), known(outage, opened_now(outage))
    outage.clock.advance(5)
    for state in (fresh, opened_state):
        state.redelivered()
        assert not state.has_work


def test_the_first_call_of_a_block_has_the_circuit_read_once(outage):
    """Further calls wait for the same read."""
    state = outage.state()
    state.call_starts()
    assert state.take_work().reads
    state.call_starts()
    assert state.take_work() == NOTHING._replace(reads=True)
    state.has_read()
    state.call_starts()
    assert not state.has_work


def test_a_new_execution_environment_starts_few_records_until_the_first_success(outage):
    """A dead service is met by 1, 2, 4, 8 … calls."""
    state, limits = known(outage), list[int]()
    for _ in range(15):
        end(state, outage, OTHER_ERROR)
        limits.append(state.workers)
    assert limits == [2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16]
    assert end(state, outage, SUCCEEDED, SUCCEEDED) == [True, False]
    assert state.workers == UNLIMITED


@pytest.mark.parametrize(("seconds", "expected"), [(0.9, [1, 1, 4, 4]), (1.0, [2, 1, 4, 4])])
def test_failures_in_a_new_execution_environment_decide_soon(outage, seconds: float, expected: list[int]):
    """One record after a quick failure, two after a slow one, and no more than four while it goes on."""
    state, limits = known(outage), list[int]()
    for _ in range(4):
        state.started()
        state.ended(outage.clock() - seconds, outage.clock(), FAILED)
        limits.append(state.workers)
    assert limits == expected


def test_many_records_that_end_with_other_errors_lift_the_limit(outage):
    """From 1,024 records in flight, nothing is limited any more."""
    state = known(outage)
    end(state, outage, *[OTHER_ERROR] * 1_023)
    assert state.workers == UNLIMITED


def test_five_failures_open_the_circuit_and_nothing_starts(outage, caplog):
    """Before anything is written; the keeper has to write it, and one line is logged."""
    state, woken = known(outage), list[int]()
    state.wakes = lambda: woken.append(1)
    changes = end(state, outage, *[FAILED] * 5)
    assert state.is_open
    assert changes[-1]
    assert state.circuit == opened_now(outage)
    assert state.wait(outage.clock()) == math.inf
    assert state.take_work() == NOTHING._replace(failures=5, opens=True)
    assert len(woken) == 5
    state.adopt(state.circuit)
    state.adopt(state.circuit)
    (line,) = caplog.messages
    assert line.startswith("breaker 'payments' is open: its service is down; messages are held until a probe")
    assert line.endswith("next probe in 30 s")


def test_failures_of_all_execution_environments_open_the_circuit(outage, caplog):
    """Three failures here, and five in the table."""
    state = known(outage)
    end(state, outage, *[FAILED] * 3)
    state.take_work()
    state.adopt(Circuit(failures=4))
    assert not state.is_open
    state.adopt(Circuit(failures=5))
    assert state.is_open
    assert state.take_work().opens
    assert "breaker 'payments' is open" in caplog.text


def test_failures_of_records_that_started_before_it_opened_change_nothing(outage):
    """Nor do their successes: they do not show that the service is back."""
    state = known(outage)
    end(state, outage, *[FAILED] * 5)
    state.take_work()
    started_at = outage.clock() - 1
    for result in (FAILED, SUCCEEDED, OTHER_ERROR):
        assert state.ended(started_at, outage.clock(), result)  # a start has to ask
    assert not state.has_work


def test_a_success_while_it_is_open_shows_that_the_service_is_back(outage):
    """A message on its last receive was processed nevertheless; its failure changes nothing."""
    state = known(outage, opened_now(outage))
    assert end(state, outage, FAILED) == [True]
    assert not state.has_work
    end(state, outage, SUCCEEDED)
    assert state.take_work().is_back is True


def test_the_circuit_is_read_when_a_probe_is_due(outage):
    """The read also claims the probe."""
    state = known(outage, opened_now(outage))
    assert state.wait(outage.clock()) == math.inf
    outage.clock.advance(30)
    assert state.wait(outage.clock()) == POLL_SECONDS
    assert state.take_work().reads


def test_one_record_starts_as_the_probe(outage, caplog):
    """Others wait until it ends."""
    caplog.set_level("INFO", "fanfold")
    state = known(outage, opened_now(outage))
    state.adopt(probing_of(state, outage))
    assert state.is_probing
    assert "breaker 'payments' is half-open: one call finds out whether its service is back" in caplog.messages
    assert state.wait(outage.clock()) == 0
    assert state.started() == -math.inf
    assert state.wait(outage.clock()) == PROBE_POLL_SECONDS
    assert not state.is_idle


@pytest.mark.parametrize("result", [FAILED, SUCCEEDED])
def test_a_probe_shows_whether_the_service_is_back(outage, result):
    """The keeper writes it."""
    state = known(outage, opened_now(outage))
    state.adopt(probing_of(state, outage))
    end(state, outage, result)
    assert state.take_work().is_back is (result is SUCCEEDED)


def test_a_probe_that_ends_with_another_error_shows_nothing(outage):
    """The next record is the probe."""
    state = known(outage, opened_now(outage))
    state.adopt(probing_of(state, outage))
    assert end(state, outage, OTHER_ERROR) == [True]
    assert not state.has_work
    assert state.wait(outage.clock()) == 0


def test_the_probe_of_another_execution_environment_lets_nothing_start(outage):
    """Until its lease ends."""
    state = known(outage, claimed(opened_now(outage), outage.clock(), "another", 60))
    assert not state.is_probing
    assert state.wait(outage.clock()) == math.inf
    outage.clock.advance(60)
    assert state.wait(outage.clock()) == POLL_SECONDS


def test_after_an_outage_only_successes_let_more_records_start(outage, caplog):
    """Slow start: 1, 2, 4, 8 …, and one line is logged."""
    state = known(outage, opened_now(outage))
    state.calls_saved = 7
    outage.clock.advance(90)
    state.adopt(closed(state.circuit, outage.clock(), state.owner))
    assert caplog.messages[-1] == (
        "breaker 'payments' is closed: its service is back after 90 s; 7 records were not started here"
    )
    assert (state.workers, state.wait(outage.clock())) == (1, 0)
    assert state.started() == math.inf
    limits = []
    for result in (OTHER_ERROR, SUCCEEDED, SUCCEEDED, FAILED, SUCCEEDED, *[SUCCEEDED] * 4):
        end(state, outage, result)
        limits.append(state.workers)
    assert limits == [1, 2, 2, 2, 4, 4, 4, 4, 8]


def test_the_failures_before_an_outage_are_forgotten_after_it(outage):
    """One failure does not open it again."""
    state = known(outage)
    end(state, outage, *[FAILED] * 5)
    state.take_work()
    state.adopt(closed(state.circuit, outage.clock()))
    end(state, outage, *[FAILED] * 4)
    assert not state.is_open


def test_a_service_that_works_needs_no_notice_of_each_success(outage):
    """After 20 successes, a further one changes nothing."""
    state = known(outage)
    end(state, outage, *[SUCCEEDED] * 19)
    assert not state.is_quiet
    end(state, outage, SUCCEEDED)
    assert state.is_quiet
    end(state, outage, FAILED)
    assert not state.is_quiet


def test_a_failure_that_is_read_again_does_not_count_twice(outage):
    """``take_work`` empties what has to be done."""
    state = known(outage)
    end(state, outage, FAILED, FAILED)
    assert state.take_work().failures == 2
    assert state.take_work() == NOTHING


def test_a_breaker_that_failed_itself_limits_nothing(outage):
    """Messages are processed as without it."""
    state = known(outage, opened_now(outage))
    state.batch_starts()
    state.forget()
    assert (state.is_open, state.workers, state.has_work) == (False, UNLIMITED, False)
    assert state.wait(outage.clock()) == 0
