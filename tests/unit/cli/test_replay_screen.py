"""The result of a replay on a terminal of 80 columns."""

from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from fanfold._replay.options import ReplayOptions
from fanfold.cli.replay_screen import show_replay

IDS = [f"059f36b4-87a3-44ab-83d2-66197583{number:04d}" for number in range(60)]


def document(*ends: str, error: str | None = None, dead_letters: Any = (), consumer: bool = True) -> dict[str, Any]:
    """Return a document of one delivery of messages with these ends."""
    messages = [
        {
            "number": number,
            "id": IDS[number][::-1],
            "label": f"order={number}",
            "end": end,
            "receives": 0 if end == "filtered out" else 1,
            "outcome": "Done" if end == "deleted" else "Failed",
            "error": None if end == "deleted" else error,
            "attempts": [],
        }
        for number, end in enumerate(ends)
    ]
    succeeded = all(end == "deleted" for end in ends)
    kind = "complete success" if succeeded else "partial success"
    measured = {"seconds": 0.5, "most_in_flight": None, "remaining_ms": None, "peak_memory_mb": None, "spans": []}
    return {
        "consumer": consumer,
        "settings": asdict(ReplayOptions()),
        "summary": {
            "messages": len(ends),
            "deliveries": 1,
            "receives": len(ends),
            "deleted": ends.count("deleted"),
            "dead_lettered": ends.count("dead-lettered"),
            "left": ends.count("in the queue"),
            "lost": ends.count("lost"),
            "filtered": ends.count("filtered out"),
        },
        "messages": messages,
        "deliveries": [
            {
                "number": 0,
                "began_at": 0.0,
                "messages": list(range(len(ends))),
                "verdict": {"kind": kind, "reason": "1 of 2 messages are reported as failed"},
                "measured": measured,
            }
        ],
        "dead_letters": list(dead_letters),
        "measured": {"seconds": 1.0, "peak_memory_mb": None},
    }


def screen(document: dict[str, Any], width: int = 80, html: Path | None = None) -> str:
    output = StringIO()
    show_replay(document, Console(file=output, width=width), html)
    assert max(map(len, output.getvalue().splitlines())) <= width
    return output.getvalue()


def test_a_message_that_did_not_succeed_has_one_line_with_its_label_and_a_short_id():
    """Messages that succeeded are counted."""
    text = screen(document("deleted", "dead-lettered", "deleted", error="ValueError: no"))
    (line,) = [line for line in text.splitlines() if "order=1" in line]
    assert line.split() == ["100038", "order=1", "dead-lettered", "1", "Failed:", "ValueError:", "no"]
    assert "2 messages deleted at the first receive, the others:" in text
    assert "order=0" not in text


def test_a_success_needs_no_table():
    """One line each for deliveries, messages, and the totals."""
    text = screen(document("deleted"))
    assert text.splitlines() == [
        "1 delivery succeeded completely",
        "",
        "1 message deleted at the first receive",
        "",
        "1 message: 1 deleted, 0 dead-lettered, 0 lost; 1 receive in 1 delivery, 1.0 s",
    ]


def test_filtered_messages_are_counted():
    """They are neither successes nor failures."""
    text = screen(document("deleted", "filtered out"))
    assert "2 messages: 1 deleted, 0 dead-lettered, 0 lost, 1 filtered out;" in text
    assert "order=1" not in text


def test_a_long_list_is_capped():
    """The last line counts the rest."""
    assert "and 20 more; --html and --json list them" in screen(document(*["lost"] * 60))


def test_an_error_is_cut_to_its_first_line_and_markup_is_text():
    """An error may have a traceback in its text."""
    text = " ".join(screen(document("lost", error="[bold] no\nTraceback")).split())
    assert "Failed: [bold] no …" in text
    assert "Traceback" not in text
    assert "…" in screen(document("lost", error="x" * 500))


def test_a_wide_terminal_shows_more():
    """Durations and memory."""
    assert "peak MB" in screen(document("lost"), width=120)
    assert "took ms" in screen(document("lost"), width=120)


def test_dead_letters_that_the_handler_wrote_are_listed():
    """Those of the messages are in the table."""
    letters = [{"number": None, "id": "x", "label": f"n={number}", "reason": "sent"} for number in range(7)]
    text = screen(document("deleted", dead_letters=[{"number": 0, "id": "y", "label": "", "reason": ""}, *letters]))
    assert text.count("dead letter of the handler: n=") == 5
    assert "and 2 more; --json lists them" in text


def test_the_screen_states_why_outcomes_are_unknown_and_where_the_page_is():
    """Under the totals."""
    text = screen(document("deleted", consumer=False), html=Path("r.html"))
    assert "this handler is not a fanfold consumer: only the batch response is known" in text
    assert "HTML page: r.html" in text


def test_a_message_or_an_error_cannot_control_the_terminal():
    """Escape sequences in an id, a body, or an error are shown as text, and markup is not interpreted."""
    letters = [{"number": None, "label": "\x1b[31mred", "reason": "[bold]\x07"}]
    shown = document("dead-lettered", error="ValueError: \x1b[2J[bold]gone", dead_letters=letters)
    shown["messages"][0] |= {"id": "\x1b]0;title\x07", "label": "[red]\x9b31m"}
    text = screen(shown)
    assert not set("\x1b\x07\x9b") & set(text)
    assert all(part in text for part in ("[red]", "[bold]gone", "\\x1b[31mred", "[bold]\\x07"))
