"""The setting of a breaker, and every way in which it can be wrong."""

import functools
import logging
import math

import pytest

import fanfold
from fanfold import Breaker, Consumer
from fanfold._breakers.breaker import MOST_BREAKERS, TABLE_VARIABLE, breakers_of
from fanfold._breakers.counted import counted_by, marked
from fanfold.errors import ConfigurationError
from recorded_outage import DownError, Outage


async def async_predicate(error: BaseException) -> bool:
    return True


async def handler(body: str) -> None: ...


INVALID = [
    ({"on": ()}, "on"),
    ({"on": "ConnectionError"}, "on"),
    ({"on": [ConnectionError]}, "on"),
    ({"on": (ConnectionError, "x")}, "on"),
    ({"on": int}, "on"),
    ({"on": None}, "on"),
    ({"on": async_predicate}, "on"),
    ({"failures": 1}, "failures"),
    ({"failures": 2.5}, "failures"),
    ({"failures": True}, "failures"),
    ({"failures": "5"}, "failures"),
    ({"share": 0}, "share"),
    ({"share": 1.1}, "share"),
    ({"share": math.nan}, "share"),
    ({"share": None}, "share"),
    ({"probe": "ping"}, "probe"),
    ({"probe_every": 0}, "probe_every"),
    ({"probe_every": -1}, "probe_every"),
    ({"probe_every": math.inf}, "probe_every"),
    ({"outage_budget": 0}, "outage_budget"),
    ({"outage_budget": math.inf}, "outage_budget"),
    ({"outage_budget": "12h"}, "outage_budget"),
    ({"last": "keep"}, "last"),
    ({"last": []}, "last"),
    ({"table": 5}, "table"),
]


@pytest.mark.parametrize(
    ("arguments", "name"), INVALID, ids=[f"{number}-{name}" for number, (_, name) in enumerate(INVALID)]
)
def test_an_invalid_argument_is_refused_on_one_line(arguments, name):
    """It names the breaker, the argument, what it must be, and what it is."""
    with pytest.raises(ConfigurationError) as raised:
        Breaker("payments", **{"on": ConnectionError, **arguments})
    message = str(raised.value)
    assert message.startswith(f"Breaker 'payments': {name} must be ")
    assert message.endswith(f"not {arguments[name]!r}")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["", "a#b", None, 5])
def test_an_invalid_name_is_refused_on_one_line(name):
    """A ``#`` separates the items of the table."""
    with pytest.raises(ConfigurationError, match=r"^Breaker: name must be a string without '#', and not empty, not "):
        Breaker(name, on=ConnectionError)


def test_a_breaker_has_the_documented_defaults():
    """Also in its representation."""
    breaker = Breaker("payments", on=ConnectionError)
    assert (breaker.failures, breaker.share, breaker.probe, breaker.probe_every) == (5, 0.8, None, 30)
    assert (breaker.outage_budget, breaker.last, breaker.table) == (12 * 3_600, "try", "")
    assert repr(breaker) == "Breaker('payments', on=<class 'ConnectionError'>)"


def test_the_table_is_the_argument_or_the_environment_variable(monkeypatch):
    """Read when it is used, not when the module is imported."""
    breaker, without = Breaker("a", on=OSError), Breaker("b", on=OSError, table="")
    monkeypatch.setenv(TABLE_VARIABLE, "breakers")
    assert (breaker.table, without.table, Breaker("c", on=OSError, table="mine").table) == ("breakers", "", "mine")


def test_errors_count_by_type_or_by_predicate():
    """Subclasses count, too."""
    typed = Breaker("a", on=(ConnectionError, TimeoutError))
    chosen = Breaker("b", on=lambda error: getattr(error, "status", 0) >= 500)
    bad = ValueError()
    bad.status = 503
    assert [typed.counts(error) for error in (DownError(), TimeoutError(), ValueError())] == [True, True, False]
    assert [chosen.counts(error) for error in (bad, DownError())] == [True, False]


def test_a_predicate_that_raises_does_not_count_and_is_logged_once(caplog):
    """The messages are processed as without a breaker."""
    breaker = Breaker("payments", on=lambda error: error.status >= 500)
    assert not breaker.counts(DownError())
    assert not breaker.counts(DownError())
    assert [(entry.levelno, entry.getMessage()) for entry in caplog.records] == [
        (logging.ERROR, "breaker 'payments': its predicate `on` failed; the error does not count")
    ]


def test_a_predicate_may_be_any_function():
    """A partial, or an object with a call."""
    breaker = Breaker("payments", on=functools.partial(isinstance, DownError()))
    assert not breaker.counts(DownError())  # isinstance(DownError(), DownError()) raises


@pytest.mark.parametrize("setting", [None, [], ()])
def test_a_consumer_has_no_breaker_by_default(setting):
    """An empty list has the same meaning."""
    assert list(breakers_of(setting)) == []


def test_a_consumer_has_one_breaker_or_several():
    """In a list or a tuple."""
    one, other = Breaker("a", on=ConnectionError), Breaker("b", on=KeyError)
    assert list(breakers_of(one)) == [one]
    assert list(breakers_of((one, other))) == list(breakers_of([one, other])) == [one, other]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("payments", r"breaker must be a fanfold.Breaker, .*, not 'payments'; create one with fanfold.Breaker\(name"),
        (ConnectionError, r"breaker must be a fanfold.Breaker, .*; create one with"),
        (5, r"breaker must be a fanfold.Breaker, a list of them, or None, not 5$"),
        ([Breaker("a", on=OSError), 5], r"breaker must be a fanfold.Breaker, a list of them, or None, not 5$"),
        (
            [Breaker(f"b{number}", on=lambda _: False) for number in range(MOST_BREAKERS + 1)],
            "a consumer can have at most 10 breakers, not 11",
        ),
        (
            [Breaker("a", on=OSError), Breaker("a", on=KeyError)],
            "two breakers have the name 'a': use one breaker for each service",
        ),
        (
            [Breaker("a", on=(KeyError, OSError)), Breaker("b", on=ConnectionError)],
            "breakers 'a' and 'b': OSError counts for both; use distinct errors, or `with breaker:` around the call",
        ),
        (
            [Breaker("a", on=ConnectionError), Breaker("c", on=KeyError), Breaker("b", on=(ValueError, OSError))],
            "breakers 'a' and 'b': ConnectionError counts for both",
        ),
    ],
)
def test_a_consumer_refuses_breakers_that_cannot_work(setting, message):
    """When it is defined, on one line."""
    with pytest.raises(ConfigurationError, match=message) as raised:
        fanfold.consumer(breaker=setting)(handler)
    assert "\n" not in str(raised.value)


def test_two_breakers_with_predicates_are_accepted():
    """Nobody knows what they match; an error counts for the first one."""
    breakers = [Breaker("a", on=lambda _: True), Breaker("b", on=lambda _: True), Breaker("c", on=KeyError)]
    assert isinstance(fanfold.consumer(breaker=breakers)(handler), Consumer)


def test_outside_of_a_consumer_a_block_does_nothing():
    """In a test of the function, or in a script."""
    breaker = Outage().breaker()
    for _ in range(20):
        with pytest.raises(DownError), breaker:
            raise DownError
    with breaker as entered:
        assert entered is breaker


async def test_outside_of_a_consumer_an_async_block_does_nothing():
    """Although there is an event loop."""
    breaker = Outage().breaker()
    for _ in range(20):
        with pytest.raises(DownError):
            async with breaker:
                raise DownError
    async with breaker as entered:
        assert entered is breaker


def test_a_copy_for_a_simulation_keeps_the_settings():
    """It has another table, another clock, and another number of receives."""
    outage = Outage()
    original = Breaker("payments", on=DownError, failures=7, last="copy")
    copy = original.simulated(outage.open_table, outage.clock, max_receives=3)
    assert (copy.name, copy.on, copy.failures, copy.last) == ("payments", DownError, 7, "copy")
    assert (copy.clock(), copy.max_receives, copy.waits) == (outage.clock(), 3, False)
    assert (original.open_table, original.max_receives, original.waits) == (None, None, True)


def test_the_mark_of_a_block_is_kept_on_an_error():
    """And an error that allows no attributes has none."""

    class RefusingError(DownError):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError

    keeper, plain = object(), DownError()
    assert counted_by(marked(plain, keeper)) is keeper
    assert counted_by(DownError()) is None
    refusing = RefusingError()
    assert marked(refusing, keeper) is refusing
    assert counted_by(refusing) is None
