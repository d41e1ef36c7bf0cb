"""How a circuit changes. Pure functions; times are seconds since 1970."""

from __future__ import annotations

from typing import Final

from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, Circuit

MOST_PROBE_SECONDS: Final = 300.0
"""Longest interval of probes, unless a longer one is set."""
_AGE_SHARE: Final = 1 / 30
"""Interval of probes, as a share of the outage so far: the longer it lasts, the later its end may be noticed."""
_SAME_OUTAGE_PROBES: Final = 4
"""Intervals of probes after which a circuit that opens again has a new outage."""
RELEASE_SECONDS: Final = 20.0
"""Time for which the one who closes a circuit makes its held messages visible, before another one may continue."""


def probe_interval(age: float, probe_every: float) -> float:
    """Return the seconds until the next probe: at least ``probe_every``; a thirtieth of the outage, up to 300 s."""
    return max(probe_every, min(_AGE_SHARE * age, MOST_PROBE_SECONDS))


def opened(circuit: Circuit, now: float, *, probe_every: float, forced: bool = False) -> Circuit:
    """Return a closed circuit after it was opened; soon after it was closed, it is still the same outage."""
    is_same = circuit.closed_at > 0 and now - circuit.closed_at <= _SAME_OUTAGE_PROBES * probe_every
    since = circuit.since if is_same else now
    due = now + probe_interval(now - since, probe_every)
    circuit = circuit._replace(state=OPEN, since=since, opened_at=now, probe_due=due, forced=forced)
    return circuit._replace(owner="", lease_until=0.0, tick_at=0.0, ticker="")


def may_probe(circuit: Circuit, now: float) -> bool:
    """Return whether a probe may start: its time has come, and no other one runs."""
    if circuit.is_closed or circuit.forced:
        return False
    return now >= (circuit.probe_due if circuit.state == OPEN else circuit.lease_until)


def claimed(circuit: Circuit, now: float, owner: str, lease_seconds: float) -> Circuit:
    """Return an open circuit after ``owner`` has claimed the probe."""
    return circuit._replace(state=HALF_OPEN, owner=owner, lease_until=now + lease_seconds)


def reopened(circuit: Circuit, now: float, *, probe_every: float) -> Circuit:
    """Return a half-open circuit after its probe failed."""
    due = now + probe_interval(now - circuit.since, probe_every)
    return circuit._replace(state=OPEN, opened_at=now, probe_due=due, owner="", lease_until=0.0)


def given_back(circuit: Circuit) -> Circuit:
    """Return a half-open circuit whose probe showed nothing about the service: the next one may start immediately."""
    return circuit._replace(state=OPEN, owner="", lease_until=0.0)


def closed(circuit: Circuit, now: float, owner: str = "") -> Circuit:
    """Return a circuit after it was closed; ``owner`` makes its held messages visible."""
    lease_until = now + RELEASE_SECONDS if owner else 0.0
    return circuit._replace(state=CLOSED, closed_at=now, owner=owner, lease_until=lease_until, forced=False)


def may_release(circuit: Circuit, now: float, owner: str) -> bool:
    """Return whether ``owner`` may make held messages visible: there are some, and no other one is doing so."""
    return circuit.is_closed and circuit.has_held and (circuit.owner == owner or now >= circuit.lease_until)


def released_by(circuit: Circuit, now: float, owner: str) -> Circuit:
    """Return a closed circuit after ``owner`` has begun to make its held messages visible."""
    return circuit._replace(owner=owner, lease_until=now + RELEASE_SECONDS)
