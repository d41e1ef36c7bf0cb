"""Pausing the event source mappings of a function while a service is down."""

from collections.abc import Sequence

import pytest

from fanfold._breakers.mapping_pause import MappingPause
from fanfold._breakers.transitions import closed, opened
from fanfold._ports.breakers import Circuit
from fanfold.errors import ConfigurationError, FanfoldError

OPENED = opened(Circuit(), 1_000, probe_every=30)
ORDERS, TICKS = "arn:aws:sqs:eu-west-1:123456789012:orders", "arn:aws:sqs:eu-west-1:123456789012:other"


class Mappings:
    """Mappings that note each change."""

    def __init__(self, error: FanfoldError | None = None) -> None:
        self.error = error
        self.changes: list[tuple[str, list[str], bool]] = []

    async def open(self) -> "Mappings":
        return self

    async def set_enabled(self, function: str, queue_arns: Sequence[str], enabled: bool) -> bool:
        if self.error is not None:
            raise self.error
        self.changes.append((function, list(queue_arns), enabled))
        return True


def pause_of(mappings: Mappings, *queues: str) -> MappingPause:
    switch = MappingPause("payments", mappings.open)
    switch.function = "orders"
    switch.queues.update(queues)
    return switch


def test_the_circuit_names_the_queues_before_their_mappings_are_disabled():
    """Another execution environment can enable them."""
    switch = pause_of(Mappings(), TICKS, ORDERS)
    wanted = switch.wanted(OPENED)
    assert wanted == OPENED._replace(paused=f"{ORDERS} {TICKS}")
    assert switch.wanted(wanted) is None
    assert switch.wanted(closed(OPENED, 2_000)) is None
    assert pause_of(Mappings()).wanted(OPENED) is None


async def test_the_mappings_of_an_open_circuit_are_disabled_and_those_of_a_closed_one_enabled():
    """Of the queues that the circuit names."""
    mappings = Mappings()
    switch = pause_of(mappings, ORDERS)
    circuit = switch.wanted(OPENED)
    assert await switch.apply(circuit)
    assert await switch.apply(closed(circuit, 2_000))
    assert mappings.changes == [("orders", [ORDERS], False), ("orders", [ORDERS], True)]


async def test_without_queues_or_a_function_nothing_changes():
    """Before the first batch."""
    mappings = Mappings()
    switch = pause_of(mappings, ORDERS)
    assert not await switch.apply(OPENED)
    switch.function = ""
    assert not await switch.apply(OPENED._replace(paused=ORDERS))
    assert mappings.changes == []


@pytest.mark.parametrize(("is_closed", "what"), [(False, "paused"), (True, "enabled")])
async def test_a_mapping_that_cannot_be_changed_is_one_line(is_closed, what, caplog):
    """The next reader of the circuit tries it again."""
    switch = pause_of(Mappings(ConfigurationError("access is denied")), ORDERS)
    circuit = OPENED._replace(paused=ORDERS)
    assert not await switch.apply(closed(circuit, 2_000) if is_closed else circuit)
    assert caplog.messages == [f"breaker 'payments': the mapping could not be {what}: access is denied"]
