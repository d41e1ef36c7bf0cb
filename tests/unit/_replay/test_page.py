"""The HTML page of a replay."""

import functools
import re
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._replay.options import ReplayOptions
from fanfold._replay.page import MAX_CHARTS, MAX_ROWS, page
from fanfold._replay.timeline import text_timeline

VOID = {"meta", "rect", "line"}


class WellFormed(HTMLParser):
    """A parser that fails on an end tag without a matching start tag."""

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


def document(
    *, messages: int = 3, deliveries: int = 1, text: str = "ValueError: no", consumer: bool = True, failed: int = 1
) -> dict:
    """Return a document in which every delivery contains all messages, and the last ones fail."""
    first_failed = messages - failed

    def outcome(number: int) -> str:
        return "Failed" if number >= first_failed else "Done"

    spans = [
        {"message": n, "slot": n % 10, "start_ms": float(n // 10), "end_ms": n // 10 + 0.9} for n in range(messages)
    ]
    return {
        "version": "0.1.0",
        "handler": text,
        "consumer": consumer,
        "settings": asdict(ReplayOptions()),
        "summary": {
            "messages": messages,
            "deliveries": deliveries,
            "deleted": first_failed,
            "dead_lettered": failed,
            "left": 0,
            "lost": 0,
            "filtered": 0,
            "receives": messages * deliveries,
        },
        "messages": [
            {
                "number": n,
                "id": f"{text}-{n}",
                "source": text,
                "label": text,
                "end": "dead-lettered" if n >= first_failed else "deleted",
                "receives": deliveries,
                "outcome": outcome(n),
                "error": text if n >= first_failed else None,
                "attempts": [
                    {"delivery": d, "outcome": outcome(n), "retried": n >= first_failed} for d in range(deliveries)
                ],
                "history": [text],
            }
            for n in range(messages)
        ],
        "deliveries": [
            {
                "number": d,
                "began_at": float(d),
                "ended_at": d + 1.0,
                "messages": list(range(messages)),
                "response": text,
                "error": None,
                "verdict": {"kind": "partial success", "reason": text},
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
        "dead_letters": [{"id": text, "number": messages - 1, "reason": text}],
        "measured": {"seconds": 1.0, "peak_memory_mb": 60.0},
    }


def test_the_page_shows_the_result_of_every_message():
    """It has a summary, a bar for each delivery and each record, and a row for each message that did not succeed."""
    html = parsed(page(document(messages=12)))
    assert "12 messages: 11 deleted, 1 dead-lettered, none lost." in html.text
    assert html.tags.count("rect") == 1 + 12
    assert html.tags.count("tr") == 1 + 1
    assert "11 messages deleted at the first receive. The others:" in html.text


def test_the_page_is_self_contained():
    """It has no script and no URL."""
    html = page(document())
    assert "<script" not in html
    assert not re.search(r"https?:|src=|url\(|@import", html)


@given(
    text=st.text()
    | st.sampled_from(['</script><script>alert("x")</script>', "\"'><img src=x onerror=alert(1)>", "&lt;"])
)
def test_user_content_is_escaped(text):
    """Ids, errors, reasons, and responses cannot add an element."""
    assert parsed(page(document(text=text))).tags == tags_of_plain_text()


@functools.cache
def tags_of_plain_text() -> list[str]:
    return parsed(page(document(text="text"))).tags


@pytest.mark.uncounted
def test_a_large_replay_is_capped_with_a_note():
    """Of the messages that did not succeed, the first ones are shown."""
    html = page(document(messages=MAX_ROWS + 200, failed=MAX_ROWS + 100))
    assert f"Showing {MAX_ROWS} of {MAX_ROWS + 100} messages." in html
    assert f'title="ValueError: no-{MAX_ROWS + 99}"' in html
    many = page(document(deliveries=MAX_CHARTS + 5))
    assert f"Showing {MAX_CHARTS} of {MAX_CHARTS + 5} deliveries." in many
    assert len(page(document(messages=10_000, deliveries=100))) < 3_000_000


def test_a_handler_that_is_not_a_consumer_has_no_timeline():
    """The page states why."""
    assert "not a fanfold consumer" in page(document(consumer=False))
    assert "No batch was delivered" in page({**document(), "deliveries": []})


def test_the_page_states_the_settings_as_sentences():
    """And what they survive of an outage; a message that all succeeded needs no table."""
    replayed = document(failed=0)
    text = parsed(page(replayed)).text
    assert "A standard queue with a visibility timeout of 30 s; dead letters after 5 receives." in text
    assert "3 messages deleted at the first receive." in text
    assert "The others" not in text
    replayed["settings"]["outage"] = {"seconds": 60, "share": 1, "error": "E"}
    assert "Outage of 60 s: 0 messages failed during it" in parsed(page(replayed)).text


def test_a_message_that_the_handler_sent_has_a_bar():
    """It has no row in the document."""
    replayed = document()
    replayed["deliveries"][0]["measured"]["spans"].append({"message": 3, "slot": 0, "start_ms": 1.0, "end_ms": 2.0})
    assert "a message that the handler sent: ran, 1.0 ms" in page(replayed)
    assert "=" in text_timeline(replayed["deliveries"][0], replayed["messages"])


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_text_timeline_has_a_line_for_each_slot(width):
    """Bars show the outcome, and lines stay within the width."""
    replayed = document(messages=12)
    lines = text_timeline(replayed["deliveries"][0], replayed["messages"], width).splitlines()
    assert [line[:8] for line in lines[:10]] == [f"slot {slot:>3}" for slot in range(10)]
    assert "x" in lines[1]
    assert max(map(len, lines[:-1])) <= width
    assert text_timeline(document(consumer=False)["deliveries"][0], replayed["messages"]) == "(no record ran)"


def test_the_text_timeline_is_capped():
    """The last line states how many slots are missing."""
    replayed = document(messages=100)
    delivery = replayed["deliveries"][0]
    delivery["measured"]["spans"] = [{**span, "slot": n} for n, span in enumerate(delivery["measured"]["spans"])]
    assert "… and 80 more slots" in text_timeline(delivery, replayed["messages"])
