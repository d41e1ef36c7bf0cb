"""The explanation of one message of a replay."""

from typing import Any

import pytest

from fanfold._replay.explain import explain
from fanfold.errors import ConfigurationError


def message(name: str, **changes: Any) -> dict[str, Any]:
    attempts = [{"delivery": 0, "receive_count": 1, "outcome": "Done", "error": None, "retried": False}]
    return {
        "id": name,
        "label": "n=1",
        "source": "e.json",
        "end": "deleted",
        "attempts": attempts,
        "history": [],
    } | changes


def document(*messages: dict[str, Any], reason: str = "batchItemFailures is empty") -> dict[str, Any]:
    deliveries = [{"began_at": time, "verdict": {"reason": reason}} for time in (0, 30)]
    return {"messages": list(messages), "deliveries": deliveries}


def test_a_message_is_found_by_the_start_of_its_id():
    """As the tables show it."""
    history = ["visibility timeout set to 7 s by the handler", "delivery 0: deleted (batchItemFailures is empty)"]
    explanation = explain(document(message("abc", history=history), message("xyz")), "ab")
    assert explanation.splitlines() == [
        "message abc (n=1) from e.json: deleted",
        "  receive 1 at 0 s: Done",
        "    visibility timeout set to 7 s by the handler",
        "    deleted: batchItemFailures is empty",
    ]


def test_an_error_of_the_whole_invocation_is_stated_once():
    """Its text is part of the verdict too; a second receive with the same error refers to the first."""
    attempt = {"outcome": None, "error": "E: no", "retried": True}
    attempts = [{"delivery": number, "receive_count": number + 1, **attempt} for number in (0, 1)]
    reason = "the function raised an error: E: no"
    explanation = explain(document(message("abc", attempts=attempts, end="in the queue"), reason=reason), "abc")
    assert explanation.splitlines()[1:] == [
        "  receive 1 at 0 s: E: no",
        "    kept for redelivery: the function raised an error",
        "  receive 2 at 30 s: the same",
        "    kept for redelivery: the function raised an error",
    ]


def test_all_messages_with_the_same_id_are_explained():
    """An event may repeat an id; an id that is the start of another is exact."""
    explanation = explain(document(message("abc"), message("abc"), message("abcd")), "abc")
    assert explanation.count("message abc (") == 2
    assert "abcd" not in explanation


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("q", "no message of this replay has the id 'q'"),
        ("a", "2 messages have an id that starts with"),
        ("", "no message of this replay has the id ''"),
    ],
)
def test_an_id_that_identifies_no_message_is_refused(name: str, problem: str):
    """Or several."""
    with pytest.raises(ConfigurationError, match=problem):
        explain(document(message("ab"), message("ac")), name)


def test_an_explanation_cannot_control_the_terminal():
    """Escape sequences of a body are shown as text."""
    assert "\x1b" not in explain(document(message("abc", label="\x1b[31mred")), "abc")
