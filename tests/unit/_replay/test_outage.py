"""An outage: which calls fail, with which error, and what a queue's settings survive."""

from typing import Any

import pytest

from fanfold._replay.outage import Outage, check_error, error_of, survived
from fanfold.errors import ConfigurationError, ServiceError


def test_calls_fail_until_the_outage_ends():
    """Its end is not part of it."""
    assert [Outage(900).fails(now, "call") for now in (0, 899.9, 900, 1_000)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("ConnectionError: the shop: closed", ConnectionError, "the shop: closed"),
        ("KeyError", KeyError, ""),
        ("concurrent.futures.CancelledError: x", None, "x"),
        ("fanfold.errors.EventError: odd", None, "odd"),
    ],
)
def test_an_error_is_a_built_in_or_a_full_name_with_a_message(text: str, kind: type | None, message: str):
    """The type is looked up in the handler's process, which can import the user's modules."""
    error = error_of(text)()
    assert message in str(error)
    assert type(error).__name__ == text.partition(":")[0].rpartition(".")[2]
    assert kind is None or isinstance(error, kind)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Nope: x", "'Nope' is not an exception; use a built-in one or its full name"),
        ("print", "'print' is not an exception"),
        ("fractions.Decimal", "'fractions.Decimal' is not an exception"),
        ("SystemExit", "'SystemExit' is not an exception"),
        ("nowhere.Error: x", "module 'nowhere' cannot be imported"),
        ("..Error", "module '.' cannot be imported"),
        (f"{ServiceError.__module__}.ServiceError: x", "cannot be created from a message alone"),
    ],
)
def test_an_error_that_does_not_exist_is_refused(text: str, problem: str):
    """The message names the option and the problem."""
    with pytest.raises(ConfigurationError, match="--outage-error") as refused:
        error_of(text)
    assert problem in str(refused.value)


def test_the_command_checks_what_it_can_know():
    """A full name may be of a module that only the handler's process can import."""
    check_error("shop.Closed: x")
    with pytest.raises(ConfigurationError, match="'Nope' is not an exception"):
        check_error("Nope: x")


def document(*attempts: list[float], end: str, outcome: str = "Failed", seconds: float = 900) -> dict[str, Any]:
    """Return a document of messages that were received at these times; only a deleted one succeeds at the last."""
    times = sorted({time for message in attempts for time in message})
    return {
        "settings": {"outage": {"seconds": seconds}, "max_receive_count": 5},
        "deliveries": [{"began_at": time} for time in times],
        "messages": [
            {
                "end": end,
                "outcome": outcome,
                "receives": len(message),
                "attempts": [
                    {"delivery": times.index(time), "retried": end != "deleted" or time != message[-1]}
                    for time in message
                ],
            }
            for message in attempts
        ],
    }


def test_settings_that_do_not_survive_an_outage_state_how_long_one_they_survive():
    """The first message that used its last receive shows it."""
    lines = survived(document([0, 180, 360, 540, 720], [1, 181, 361, 541, 721], end="dead-lettered"))
    assert lines[0] == "Outage of 15 min: 2 messages failed during it, and 2 of them were dead-lettered."
    assert lines[1].startswith("The first of them used the last of 5 receives after 12 min: these settings survive an ")


def test_settings_that_survive_an_outage_state_what_they_used():
    """The receives, and the time until the last message was delivered."""
    lines = survived(document([0, 600, 1_200], end="deleted", outcome="Done"))
    assert lines[0] == "Outage of 15 min: 1 message failed during it, and 0 of them were dead-lettered."
    assert lines[1] == (
        "These settings survive it: at most 3 of 5 receives were used, and the last message was delivered 5 min after "
        "the outage."
    )


def test_messages_that_a_breaker_held_are_told_apart_from_calls():
    """Their receives count like those of other messages; the first dead-lettered one shows what is too short."""
    with_breaker = document([0, 600, 1_200], [1, 1_300], end="deleted", outcome="Done")
    held = {"outcome": "NotStarted", "error": "breaker 'payments' is open"}
    with_breaker["messages"][1]["attempts"][0] |= held
    lines = survived(with_breaker)
    assert lines[0] == (
        "Outage of 15 min: 2 messages failed during it or were held by a breaker (2 calls failed), and 0 of them were "
        "dead-lettered."
    )
    dead = document([0, 30, 60, 90, 120], end="dead-lettered")
    dead["messages"][0]["attempts"][1] |= held
    assert survived(dead)[1].endswith("raise the visibility timeout, or the outage_budget of the breaker.")


def test_messages_that_did_not_fail_in_the_outage_are_not_counted():
    """Nor those that the handler rejects, or that fail afterward."""
    assert survived(document([0], end="deleted", outcome="Done", seconds=10))[1:] == []
    rejected = survived(document([0], end="dead-lettered", outcome="Rejected"))
    assert "0 of them were dead-lettered" in rejected[0]
    poison = survived(document([0, 950], end="dead-lettered"))
    assert "0 of them were dead-lettered" in poison[0]


def test_without_an_outage_nothing_is_reported():
    """There is nothing to survive."""
    assert survived({"settings": {"outage": None}}) == []
