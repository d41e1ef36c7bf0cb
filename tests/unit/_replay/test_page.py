"""The HTML page of a replay."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._replay.page import MOST_CHARTS, MOST_ROWS, page
from fanfold._replay.timeline import text_timeline

VOID = {"meta", "rect", "line"}


class WellFormed(HTMLParser):
    """Fails when an element is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> WellFormed:
    parser = WellFormed()
    parser.feed(text)
    assert parser.open == []
    return parser


def document(*, messages: int = 3, deliveries: int = 1, words: str = "ValueError: no", consumer: bool = True) -> dict:
    """Return a document in which all messages are in every delivery, and the last one fails."""
    last = messages - 1

    def outcome(number: int) -> str:
        return "Failed" if number == last else "Done"

    spans = [
        {"message": n, "slot": n % 10, "start_ms": float(n // 10), "end_ms": n // 10 + 0.9} for n in range(messages)
    ]
    return {
        "version": "0.1.0",
        "handler": words,
        "consumer": consumer,
        "settings": {"batch_size": 10, "fifo": False},
        "summary": {
            "messages": messages,
            "deliveries": deliveries,
            "deleted": last,
            "dead_lettered": 1,
            "left": 0,
            "lost": 0,
            "receives": messages * deliveries,
        },
        "messages": [
            {
                "number": n,
                "id": f"{words}-{n}",
                "source": words,
                "end": "dead-lettered" if n == last else "deleted",
                "receives": deliveries,
                "outcome": outcome(n),
                "error": words if n == last else None,
                "attempts": [{"delivery": d, "outcome": outcome(n)} for d in range(deliveries)],
                "history": [words],
            }
            for n in range(messages)
        ],
        "deliveries": [
            {
                "number": d,
                "began_at": float(d),
                "ended_at": d + 1.0,
                "messages": list(range(messages)),
                "response": words,
                "error": None,
                "verdict": {"kind": "partial success", "reason": words},
                "measured": {
                    "seconds": 0.1,
                    "peak_memory_mb": 60.0,
                    "remaining_ms": 29_000,
                    "most_in_flight": 10,
                    "spans": spans if consumer else [],
                },
            }
            for d in range(deliveries)
        ],
        "dead_letters": [{"id": words, "number": last, "reason": words}],
        "measured": {"seconds": 1.0, "peak_memory_mb": 60.0},
    }


def test_the_page_tells_what_became_of_every_message():
    """The sum on top, a bar for each delivery and each record, a row for each message."""
    made = parsed(page(document(messages=12)))
    assert "12 messages: 11 deleted, 1 dead-lettered, none lost." in made.text
    assert made.tags.count("rect") == 1 + 12
    assert made.tags.count("tr") == 1 + 12


def test_the_page_needs_nothing_from_elsewhere():
    """No script and no address."""
    made = page(document())
    assert "<script" not in made
    assert not re.search(r"https?:|src=|url\(|@import", made)


@given(
    words=st.text()
    | st.sampled_from(['</script><script>alert("x")</script>', "\"'><img src=x onerror=alert(1)>", "&lt;"])
)
def test_whatever_users_write_is_shown_as_text(words):
    """Ids, errors, reasons and responses cannot add an element."""
    made = parsed(page(document(words=words)))
    plain = parsed(page(document(words="words")))
    assert made.tags == plain.tags


def test_a_large_replay_is_capped_and_says_so():
    """What failed is shown first."""
    made = page(document(messages=MOST_ROWS + 100))
    assert f"Of {MOST_ROWS + 100} messages {MOST_ROWS} are shown." in made
    assert f"ValueError: no-{MOST_ROWS + 99}</code>" in made
    many = page(document(deliveries=MOST_CHARTS + 5))
    assert f"Of {MOST_CHARTS + 5} deliveries {MOST_CHARTS} are shown." in many
    assert len(page(document(messages=10_000, deliveries=100))) < 3_000_000


def test_a_handler_that_is_no_consumer_has_no_slots():
    """The page says why."""
    assert "no fanfold consumer" in page(document(consumer=False))
    assert "Nothing was delivered" in page({**document(), "deliveries": []})


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_text_timeline_has_a_line_for_each_slot(width):
    """Bars are marked by outcome, within the width."""
    told = document(messages=12)
    lines = text_timeline(told["deliveries"][0], told["messages"], width).splitlines()
    assert [line[:8] for line in lines[:10]] == [f"slot {slot:>3}" for slot in range(10)]
    assert "x" in lines[1]
    assert max(map(len, lines[:-1])) <= width
    assert text_timeline(document(consumer=False)["deliveries"][0], told["messages"]) == "(nothing ran)"


def test_the_text_timeline_is_capped():
    """A thousand slots are no thousand lines."""
    told = document(messages=100)
    delivery = told["deliveries"][0]
    delivery["measured"]["spans"] = [{**span, "slot": n} for n, span in enumerate(delivery["measured"]["spans"])]
    assert "… and 80 more slots" in text_timeline(delivery, told["messages"])
