"""The page of a run, as HTML."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from drawn_runs import DrawnRun, details_of
from fanfold._jobs.run_details import RunDetails, Spread
from fanfold._ports.queue import QueueCounts
from fanfold._ports.run import Attempt, FailedBatch, RunState, Unreadable
from fanfold._report.failures import MAX_GROUPS
from fanfold._report.page import RunPage, main_part, page
from fanfold._report.read_page import read_page

VOID = {"meta", "rect", "path", "br"}
NAMED = {"svg": "aria-label", "pre": "aria-label"}
KEY_ERROR = "KeyError: 'carrier'"


class Checked(HTMLParser):
    """A parser that fails on what a screen reader or a keyboard cannot use."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        assert values.get(NAMED.get(tag, ""), "named"), (tag, values)
        assert "src" not in values
        assert "href" not in values
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.append(values["id"])
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if values.get("class") == "wide":  # it scrolls, so a keyboard must reach it
            assert (values["tabindex"], values["role"]) == ("0", "region")
            assert values["aria-label"]
        if tag == "th":
            assert values["scope"] == "col"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(text: str) -> Checked:
    """Parse a page; assert that its headings are in order."""
    parser = Checked()
    parser.feed(text)
    assert parser.open == []
    assert parser.headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(parser.headings))
    return parser


async def page_of(drawn: DrawnRun, **settings: Any) -> RunPage:
    """Return what the page of a run shows."""
    return RunPage(await details_of(drawn), **settings)


@pytest.mark.parametrize(
    "drawn",
    [
        DrawnRun(20),
        DrawnRun(0),
        DrawnRun(5, has_times=False),
        DrawnRun(300, failed={3: KEY_ERROR, 7: KEY_ERROR}, failing={9: "OSError: no"}, state=RunState.RUNNING),
        DrawnRun(2_000, environments=100, failed={3: KEY_ERROR}, state=RunState.FAILED, hops={5: 3}),
    ],
)
async def test_a_page_can_be_used_by_keyboard_and_screen_reader(drawn: DrawnRun):
    """Every picture has a name, every table that scrolls can be focused, headings are in order, nothing is loaded."""
    source = await page_of(drawn)
    text = page(source)
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert not re.search(r"https?:|url\(|@import|<script", text)
    parser = checked(text)
    assert parser.text.count("as a table") == text.count("<figure>")
    assert checked(main_part(source)).headings == parser.headings


async def test_the_page_names_the_error_the_place_and_the_command_that_retries():
    """So that a reader finds out why segments fail and what to do."""
    failed = dict.fromkeys((3, 7, 8, 9), KEY_ERROR)
    source = await page_of(DrawnRun(20, failed=failed, state=RunState.FAILED))
    text = checked(page(source)).text
    assert "KeyError 'carrier' (attempt 5 of 5, app.py:12)" in text
    assert "4 segments: 3, 7-9" in text
    assert "fanfold redrive r-1 --only 3,7-9" in text
    assert "fanfold logs r-1 --segment 3" in text
    assert "FAILED after 4.0 s. 16 of 20 segments are done, 4 failed permanently." in " ".join(text.split())


async def test_errors_of_segments_that_are_done_since_are_separate():
    """Nobody has to retry them."""
    backend = await DrawnRun(20).backend()
    attempt = Attempt(4, 0, 0, 1, 1_790_000_001.0, 0.1, "OSError", "reset", "app.py:9")
    await backend.ledger.put_attempts("r-1", FailedBatch("a", 0, [attempt]))
    source = await read_page("r-1", backend)
    text = " ".join(checked(page(source)).text.split())
    assert (
        "Retried errors These segments failed at first, and are done since. OSError reset (attempt 1, app.py:9)" in text
    )
    assert "fanfold redrive" not in text


async def test_while_the_run_is_in_progress_the_page_shows_what_fails_now():
    """The command to retry is for later."""
    drawn = DrawnRun(20, failed={3: KEY_ERROR}, failing={4: "OSError: no"}, state=RunState.RUNNING)
    source = RunPage(replace(await details_of(drawn), total=25))
    text = " ".join(checked(page(source)).text.split())
    assert "Failing now OSError no (attempt 1 of 5, app.py:12) 1 segment: 4" in text
    assert "After the run has ended, retry these segments: fanfold redrive r-1 --only 3" in text
    assert "1 failing, 1 failed permanently. About" in text
    assert "the run is in progress" in text


@pytest.mark.parametrize(("queue", "tiles"), [(QueueCounts(4, 1_200), ["1,200"]), (None, [])])
async def test_the_page_shows_how_many_messages_are_in_flight_if_that_is_known(queue: QueueCounts | None, tiles):
    """The work queue is read while the run is in progress."""
    source = RunPage(await details_of(DrawnRun(20, state=RunState.RUNNING)), queue=queue)
    text = " ".join(checked(page(source)).text.split())
    assert re.findall(r"messages in flight *([\d,]+)", text) == tiles


async def test_every_text_of_the_user_is_escaped_and_secrets_are_masked():
    """An error, a parameter, and a reason can contain any text."""
    evil = "<script>alert(1)</script>\ud83d"
    drawn = DrawnRun(
        20, failed={3: f"KeyError: {evil}"}, params={"a": evil, "api_key": "s3cr3t"}, state=RunState.FAILED
    )
    text = page(await page_of(drawn, fold_failure=evil))
    assert "<script" not in text
    assert b"alert(1)" in text.encode()
    assert "s3cr3t" not in text
    assert "fix the cause, then retry the fold" in text.lower()


@pytest.mark.uncounted
async def test_a_large_run_with_many_kinds_of_errors_fits_in_the_limit():
    """At most 300 KB, whatever happens to the segments; the largest groups are shown."""
    failed = {segment: f"Error{chr(65 + segment % 26)}{segment % 40}: {'x' * 200}" for segment in range(0, 4_000, 2)}
    source = await page_of(DrawnRun(4_000, environments=300, failed=failed, state=RunState.FAILED))
    text = page(source)
    assert len(text.encode()) < 300_000
    assert text.count('<div class="group failed">') == MAX_GROUPS


async def test_what_a_picture_cannot_show_is_noted():
    """Uneven segments, and items of the ledger that cannot be read."""
    details: RunDetails = await details_of(DrawnRun(20))
    spread = Spread(100, 1, 2, 2, 50, {7: 50})
    run = replace(details.run, state=RunState.FOLDING, ended_at=None, params={"text": "x" * 5_000})
    unreadable = [Unreadable("key", "no JSON")]
    odd = replace(details, run=run, items=spread, bad_rows=3, unreadable=unreadable, is_exact=False)
    text = checked(page(RunPage(replace(odd, failed_attempts=2_000_000)))).text
    assert "The pictures show 0 of 2,000,000 failed attempts." in text
    assert "x …" in text
    assert "Uneven items: segment 7 has 50, over five times the mean." in text
    assert "An item of the ledger cannot be read: key: no JSON" in text
    assert "at least" in text


async def test_a_failure_without_an_attempt_has_its_reason():
    """For example of a segment whose process was killed."""
    details = await details_of(DrawnRun(20, failed={3: KEY_ERROR}, state=RunState.FAILED))
    (group,) = details.failed_groups
    killed = replace(group, error="", message="too many deliveries", place=None, highest_attempt=0, example=None)
    text = checked(page(RunPage(replace(details, failed_groups=[killed])))).text
    assert "too many deliveries\n1 segment: 3" in text
    assert "fanfold logs" not in text


async def test_a_redrive_has_a_timeline_for_each_of_its_last_generations():
    """So that the time between them takes no room."""
    details = await details_of(DrawnRun(20))
    second = [replace(end, gen=1, began_at=end.began_at + 1e6, ended_at=end.ended_at + 1e6) for end in details.ends()]

    class Ends:
        tally, parts = details._ends.tally, details._ends.parts

        def all(self) -> Any:
            return [*details.ends(), *second]

    redriven = replace(details, run=replace(details.run, gen=1, fence=2), _ends=Ends())
    parser = checked(page(RunPage(redriven)))
    assert {"timeline-0", "timeline-1", "throughput-1"} <= set(parser.ids)
    assert "Timeline, generation 1" in parser.text
    assert "claims of the fold" in parser.text


async def test_an_inline_run_has_no_cost_and_no_logs():
    """Both are those of AWS."""
    drawn = DrawnRun(20, failed={3: KEY_ERROR}, state=RunState.FAILED)
    text = checked(page(await page_of(drawn, inline=True, retry="fanfold run MODULE:JOB --inline --run {run}"))).text
    assert "fanfold run MODULE:JOB --inline --run r-1 --only 3" in text
    assert "Estimated cost" not in text
    assert "fanfold logs" not in text


async def test_a_page_that_refreshes_has_a_script_and_a_status_line():
    """The script contains how long to wait."""
    text = page(await page_of(DrawnRun(20)), next_ms=2_000)
    assert "let next = 2000;" in text
    assert '<p id="live" role="status">' in text
