"""The state of a breaker as a user sees it."""

import pytest

from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, Circuit
from fanfold.cli.breaker_status import document, rows, show, show_all

NOW = 1_800_000_000.0
OPENED = Circuit(OPEN, 4, 12, NOW - 900, NOW - 20, NOW - 3000, NOW + 10, tick_at=NOW - 8, pages=5, released=2)
ENDED = OPENED._replace(state=CLOSED, closed_at=NOW - 300)


def test_an_open_breaker_shows_its_outage_its_next_probe_and_its_held_messages():
    """Durations are relative to now."""
    shown = dict(rows("orders", OPENED, NOW))
    assert shown["outage since"].endswith("(15 min ago)")
    assert shown["last opened"].endswith("(20 s ago)")
    assert shown["next probe"] == "in 10 s"
    assert shown["last tick"].endswith("(8.0 s ago)")
    assert shown["held messages"] == "3 pages of up to 500 messages"
    assert shown["failures"].startswith("12 in the last minute")


@pytest.mark.parametrize(
    ("circuit", "probe"),
    [
        (OPENED._replace(probe_due=NOW), "due: the next delivery or tick probes"),
        (OPENED._replace(forced=True), "none; `fanfold breaker close orders` closes the breaker"),
        (OPENED._replace(state=HALF_OPEN, lease_until=NOW + 30), "running, for up to 30 s more"),
        (OPENED._replace(state=HALF_OPEN), "running, but its time is up: another one may start"),
    ],
)
def test_the_next_probe_depends_on_the_state(circuit: Circuit, probe: str):
    """Without a tick, none was seen."""
    shown = dict(rows("orders", circuit._replace(tick_at=0.0, opened_at=NOW - 900), NOW))
    assert (shown["next probe"], shown["last tick"], "last opened" in shown) == (probe, "none was seen", False)


def test_a_closed_breaker_shows_its_last_outage_and_what_is_left_of_it():
    """And how the messages become visible."""
    shown = dict(rows("orders", ENDED, NOW))
    assert shown["closed"].endswith("(5 min ago)")
    assert shown["last outage"].startswith("10 min, from 2027-01-")
    assert shown["held messages"].endswith("the next invocation makes them visible, or `fanfold breaker close orders`")
    assert dict(rows("orders", Circuit(), NOW)) == {"held messages": "none"}
    ahead = dict(rows("orders", Circuit(closed_at=NOW + 5), NOW))
    assert ahead["closed"].endswith("(in 5.0 s)")


@pytest.mark.parametrize(
    ("circuit", "first"),
    [
        (Circuit(), "breaker orders: closed: nothing is stored under this name; it has never been open, or its name "),
        (ENDED, "breaker orders: closed: the service is called"),
        (OPENED, "breaker orders: open: only probes call the service"),
        (OPENED._replace(forced=True), "breaker orders: open by hand: the service is not called, and no probe closes "),
        (OPENED._replace(state=HALF_OPEN), "breaker orders: half-open: a probe is calling the service"),
    ],
)
def test_the_first_line_states_whether_the_service_is_called(capsys, circuit: Circuit, first: str):
    """In text, not only as the name of a state."""
    show("orders", circuit, NOW)
    assert " ".join(capsys.readouterr().out.split()).startswith(first)


def test_all_breakers_are_listed(capsys):
    """With how long each has been in its state, and the pages that wait."""
    show_all([("orders", OPENED), ("payments", Circuit()), ("stock", ENDED._replace(released=5))], NOW)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["orders", "OPEN", "15", "min", "3"],
        ["payments", "CLOSED", "0"],
        ["stock", "CLOSED", "5", "min", "0"],
    ]
    show_all([("orders", OPENED._replace(forced=True))], NOW)
    assert "OPEN (by hand)" in capsys.readouterr().out
    show_all([], NOW)
    assert capsys.readouterr().out == "no breakers\n"


def test_the_document_has_every_part():
    """Times that are not known are null."""
    assert document("orders", OPENED._replace(state=HALF_OPEN, owner="env-1", lease_until=NOW + 30)) == {
        "breaker": "orders",
        "state": "HALF_OPEN",
        "forced": False,
        "since": NOW - 900,
        "opened_at": NOW - 20,
        "closed_at": NOW - 3000,
        "probe_due": NOW + 10,
        "tick_at": NOW - 8,
        "prober": "env-1",
        "probe_until": NOW + 30,
        "failures": 12,
        "pages": 5,
        "pages_waiting": 3,
    }
    closed = document("orders", Circuit(owner="env-1", lease_until=NOW))
    assert (closed["tick_at"], closed["prober"], closed["probe_until"]) == (None, None, None)
