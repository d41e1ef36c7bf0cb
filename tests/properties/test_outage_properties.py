"""Outages of a dependency in virtual time: a breaker loses no message, whatever else happens."""

import pytest

from depth import by_depth
from outage_breakers import run_with_breaker, with_backoff
from outage_report import Scenario
from outage_schedules import KINDS, schedule, violations
from outage_world import run_world

SCHEDULES = len(KINDS) * by_depth(1, 7)


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_an_outage_costs_no_healthy_message(seed: int):
    """No message is lost, only poison is dead-lettered, and all is done within the promised time."""
    kind, scenario = schedule(seed)

    report = run_with_breaker(scenario, seed)

    assert not violations(kind, report), (kind, scenario)


def test_without_a_breaker_an_outage_costs_every_message():
    """With a backoff alone, every message uses up its receives: the world is not kinder than a queue."""
    report = run_world(Scenario(messages=50), 1, with_backoff)

    assert len(report.healthy_dead) == 50
    assert report.calls_while_down == 50 * 5


def test_poison_reaches_the_dead_letter_queue_after_its_receives():
    """Without an outage, a breaker changes nothing for a message whose handler always fails."""
    report = run_with_breaker(Scenario(messages=30, poison=3, down=()), 1)

    assert len(report.dead) == 3
    assert {report.messages[body].receives for body in report.dead} == {5}
    assert not report.poison_not_dead


def test_a_run_is_the_same_for_the_same_seed():
    """A seed that fails can be repeated."""
    first, second = (run_with_breaker(Scenario(messages=40, tick=True, crashed=0.1), 7) for _ in range(2))

    assert first.messages == second.messages
    assert first.calls == second.calls
    assert first.counts == second.counts
