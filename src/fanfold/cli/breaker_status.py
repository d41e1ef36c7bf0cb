"""The state of a breaker as JSON, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fanfold._base.readable import duration_text, printable
from fanfold._ports.breakers import HALF_OPEN, PAGE_HANDLES, Circuit
from fanfold.cli.show import counted

_CLOSED: Final = "closed: the service is called"
_UNKNOWN: Final = "closed: nothing is stored under this name; it has never been open, or its name is another one"
_OPEN: Final = "open: only probes call the service"
_FORCED: Final = "open by hand: the service is not called, and no probe closes it"
_PROBING: Final = "half-open: a probe is calling the service"


def document(name: str, circuit: Circuit) -> dict[str, Any]:
    """Return a breaker as JSON: times are seconds since 1970, or null."""
    names = ("since", "opened_at", "closed_at", "probe_due", "tick_at")
    is_probing = circuit.state == HALF_OPEN
    return {
        "breaker": name,
        "state": circuit.state,
        "forced": circuit.forced,
        **{one: getattr(circuit, one) or None for one in names},
        "prober": circuit.owner if is_probing else None,
        "probe_until": circuit.lease_until if is_probing else None,
        "failures": circuit.failures,
        "pages": circuit.pages,
        "pages_waiting": circuit.pages - circuit.released,
    }


def show(name: str, circuit: Circuit, now: float) -> None:
    """Print the state of a breaker."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for row, value in rows(name, circuit, now):
        grid.add_row(row, Text(printable(value)))
    head = Text.assemble("breaker ", (printable(name), "bold"), ": ", (_state(circuit), _color(circuit)))
    Console(highlight=False).print(Group(head, grid))


def show_all(circuits: Sequence[tuple[str, Circuit]], now: float) -> None:
    """Print the states of breakers."""
    if not circuits:
        print("no breakers")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("breaker", overflow="fold")
    for title in ("state", "for", "pages waiting"):
        table.add_column(title, no_wrap=True, justify="right" if title == "pages waiting" else "left")
    for name, circuit in circuits:
        state = f"{circuit.state}{' (by hand)' if circuit.forced else ''}"
        changed = circuit.closed_at if circuit.is_closed else circuit.since
        duration = duration_text(max(0.0, now - changed)) if changed else ""
        waiting = f"{circuit.pages - circuit.released:,}"
        table.add_row(Text(printable(name)), Text(state, _color(circuit)), duration, waiting)
    Console(highlight=False).print(table)


def rows(name: str, circuit: Circuit, now: float) -> Iterator[tuple[str, str]]:
    """Yield the names and values of what is known of a breaker."""
    if circuit.is_closed:
        if circuit.closed_at:
            yield "closed", _when(circuit.closed_at, now)
        if 0 < circuit.since < circuit.closed_at:
            yield "last outage", f"{duration_text(circuit.closed_at - circuit.since)}, from {_time(circuit.since)}"
    else:
        yield "outage since", _when(circuit.since, now)
        if circuit.opened_at > circuit.since:
            yield "last opened", _when(circuit.opened_at, now)
        yield "next probe", _next_probe(name, circuit, now)
        yield "last tick", _when(circuit.tick_at, now) if circuit.tick_at else "none was seen"
    yield "held messages", _waiting(name, circuit)
    if circuit.failures:
        yield "failures", f"{circuit.failures:,} in the last minute that had any, of all execution environments"


def _state(circuit: Circuit) -> str:
    if circuit.is_closed:
        return _CLOSED if circuit.version or circuit.closed_at or circuit.pages or circuit.failures else _UNKNOWN
    if circuit.forced:
        return _FORCED
    return _PROBING if circuit.state == HALF_OPEN else _OPEN


def _color(circuit: Circuit) -> str:
    return "green" if circuit.is_closed else "yellow" if circuit.state == HALF_OPEN else "red"


def _next_probe(name: str, circuit: Circuit, now: float) -> str:
    if circuit.forced:
        return f"none; `fanfold breaker close {name}` closes the breaker"
    if circuit.state == HALF_OPEN:
        left = circuit.lease_until - now
        until = f"for up to {duration_text(left)} more" if left > 0 else "but its time is up: another one may start"
        return f"running, {until}"
    left = circuit.probe_due - now
    return f"in {duration_text(left)}" if left > 0 else "due: the next delivery or tick probes"


def _waiting(name: str, circuit: Circuit) -> str:
    pages = circuit.pages - circuit.released
    if pages <= 0:
        return "none"
    text = f"{counted(pages, 'page')} of up to {PAGE_HANDLES} messages"
    if not circuit.is_closed:
        return text
    return f"{text}; the next invocation makes them visible, or `fanfold breaker close {name}`"


def _when(at: float, now: float) -> str:
    if at > now:
        return f"{_time(at)} (in {duration_text(at - now)})"
    return f"{_time(at)} ({duration_text(now - at)} ago)"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
