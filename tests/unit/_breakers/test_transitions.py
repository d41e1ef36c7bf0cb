"""How a circuit changes; times are seconds since 1970."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fanfold._breakers.transitions import (
    MOST_PROBE_SECONDS,
    RELEASE_SECONDS,
    claimed,
    closed,
    given_back,
    may_probe,
    may_release,
    opened,
    probe_interval,
    released_by,
    reopened,
)
from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, Circuit

OPENED = opened(Circuit(), 1_000, probe_every=30)


@pytest.mark.parametrize(("age", "every", "seconds"), [(0, 30, 30), (900, 30, 30), (3_000, 30, 100), (90_000, 30, 300)])
def test_probes_become_rarer_in_a_long_outage(age, every, seconds):
    """A thirtieth of its time, from ``probe_every`` to five minutes."""
    assert probe_interval(age, every) == pytest.approx(seconds)


def test_a_longer_interval_of_the_users_is_kept():
    """Also one of more than five minutes."""
    assert probe_interval(0, 600) == probe_interval(1e6, 600) == 600 > MOST_PROBE_SECONDS


def test_a_circuit_that_was_never_closed_begins_an_outage_when_it_opens():
    """The first probe is due after the interval, and nothing is left of an earlier outage."""
    before = Circuit(owner="a", lease_until=5, tick_at=7, ticker="t", since=3, version=4, pages=2, released=1)
    after = opened(before, 1_000, probe_every=30)
    assert after == Circuit(
        OPEN, 4, since=1_000, opened_at=1_000, probe_due=1_030, pages=2, released=1, owner="", lease_until=0
    )
    assert not after.is_closed


def test_a_circuit_that_opens_soon_after_it_was_closed_has_the_same_outage():
    """Within four intervals of probes; the next probe is due after the interval of the whole outage."""
    ended = closed(OPENED, 9_000)
    reopening = opened(ended, 9_120, probe_every=30)
    assert (reopening.since, reopening.opened_at) == (1_000, 9_120)
    assert reopening.probe_due == pytest.approx(9_120 + 8_120 / 30)
    assert opened(ended, 9_120.1, probe_every=30).since == 9_120.1


def test_a_circuit_opened_by_hand_is_not_probed():
    """Only a person closes it."""
    forced = opened(Circuit(), 1_000, probe_every=30, forced=True)
    assert forced.forced
    assert not may_probe(forced, 1e9)
    assert not closed(forced, 2_000).forced


def test_a_probe_may_start_when_it_is_due():
    """Not earlier, and not while the circuit is closed."""
    assert not may_probe(OPENED, 1_029.9)
    assert may_probe(OPENED, 1_030)
    assert not may_probe(Circuit(), 1e9)


def test_another_probe_may_start_when_the_lease_of_the_first_has_ended():
    """The execution environment that claimed it may be gone."""
    probing = claimed(OPENED, 1_030, "a", 60)
    assert (probing.state, probing.owner, probing.lease_until, probing.since) == (HALF_OPEN, "a", 1_090, 1_000)
    assert not may_probe(probing, 1_089)
    assert may_probe(probing, 1_090)


def test_a_failed_probe_opens_the_circuit_again():
    """The outage goes on, and the next probe is due after the interval."""
    after = reopened(claimed(OPENED, 10_000, "a", 60), 10_000, probe_every=30)
    assert after == OPENED._replace(opened_at=10_000, probe_due=10_300)


def test_a_probe_that_showed_nothing_can_be_repeated_immediately():
    """It is still due."""
    after = given_back(claimed(OPENED, 1_030, "a", 60))
    assert after == OPENED
    assert may_probe(after, 1_030)


def test_the_one_who_closes_makes_the_messages_visible():
    """Another one may continue after 30 seconds."""
    after = closed(claimed(OPENED, 1_030, "a", 60), 1_031, "a")._replace(pages=2)
    assert (after.state, after.closed_at, after.owner, after.lease_until) == (
        CLOSED,
        1_031,
        "a",
        1_031 + RELEASE_SECONDS,
    )
    assert may_release(after, 1_031, "a")
    assert not may_release(after, 1_031 + RELEASE_SECONDS - 1, "b")
    assert may_release(after, 1_031 + RELEASE_SECONDS, "b")
    taken = released_by(after, 1_070, "b")
    assert not may_release(taken, 1_071, "a")
    assert may_release(taken, 1_071, "b")


def test_nobody_has_to_make_messages_visible_without_pages_or_while_it_is_open():
    """All pages are released, or the service is down."""
    assert not may_release(closed(OPENED, 2_000, "a"), 3_000, "a")
    assert not may_release(OPENED._replace(pages=1), 3_000, "a")
    assert closed(OPENED, 2_000).lease_until == 0


class Circuits(RuleBasedStateMachine):
    """Two execution environments change a circuit in any order that the rules allow."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now = 1_000.0

    @rule(seconds=st.integers(0, 5_000))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.circuit.is_closed)
    @rule()
    def open(self) -> None:
        closed_at, since = self.circuit.closed_at, self.circuit.since
        self.circuit = opened(self.circuit, self.now, probe_every=30)
        is_same = closed_at > 0 and self.now <= closed_at + 120
        assert self.circuit.since == (since if is_same else self.now)

    @precondition(lambda self: may_probe(self.circuit, self.now))
    @rule(owner=st.sampled_from("ab"))
    def claim(self, owner: str) -> None:
        self.circuit = claimed(self.circuit, self.now, owner, 60)
        assert not may_probe(self.circuit, self.now)

    @precondition(lambda self: self.circuit.state == HALF_OPEN)
    @rule(ends=st.sampled_from(["fails", "shows nothing", "succeeds"]))
    def probe(self, ends: str) -> None:
        if ends == "succeeds":
            self.circuit = closed(self.circuit, self.now, self.circuit.owner)
        elif ends == "fails":
            self.circuit = reopened(self.circuit, self.now, probe_every=30)
            assert not may_probe(self.circuit, self.now)
        else:
            self.circuit = given_back(self.circuit)

    @precondition(lambda self: not self.circuit.is_closed)
    @rule()
    def hold(self) -> None:
        self.circuit = self.circuit._replace(pages=self.circuit.pages + 1)

    @precondition(lambda self: may_release(self.circuit, self.now, "b"))
    @rule()
    def release(self) -> None:
        self.circuit = released_by(self.circuit, self.now, "b")._replace(released=self.circuit.pages)

    @invariant()
    def a_circuit_is_consistent(self) -> None:
        circuit = self.circuit
        assert circuit.released <= circuit.pages
        assert circuit.since <= circuit.opened_at <= self.now
        assert (circuit.state == HALF_OPEN) <= bool(circuit.owner)
        assert circuit.state != OPEN or not circuit.owner
        if not circuit.is_closed:
            assert circuit.opened_at <= circuit.probe_due
            assert not may_release(circuit, self.now, "a")
            # Whatever happens to the one who probes, another one can go on within the longest interval.
            assert may_probe(circuit, max(circuit.probe_due, circuit.lease_until))
            assert max(circuit.probe_due, circuit.lease_until) - self.now <= MOST_PROBE_SECONDS


TestCircuits = Circuits.TestCase
TestCircuits.__doc__ = "Under any order of changes, somebody can go on."
TestCircuits.settings = settings(max_examples=50, stateful_step_count=30)
