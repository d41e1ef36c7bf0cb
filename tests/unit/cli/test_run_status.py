"""``fanfold status`` on a terminal, as lines, and as JSON."""

import json
from dataclasses import replace

import pytest
from rich.console import Console

from drawn_runs import DrawnRun, details_of
from fanfold._jobs.run_details import Spread
from fanfold._ports.queue import QueueCounts
from fanfold._ports.run import RunState, Unreadable
from fanfold._report.page import RunPage, page
from fanfold.cli.run_status import LINE_SECONDS, StatusLines, progress_of, status_line, status_view
from fanfold.cli.status_json import status_json

KEY_ERROR = "KeyError: 'carrier'"


def shown(source: RunPage) -> str:
    """Return the status as on a terminal of 80 columns."""
    console = Console(width=80)
    with console.capture() as captured:
        console.print(status_view(source))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 80
    return text


async def test_what_fails_now_is_shown_with_its_place_and_attempt():
    """Before any segment has failed permanently."""
    failing = dict.fromkeys((2, 3, 4, 5, 6, 9), KEY_ERROR)
    details = await details_of(DrawnRun(20, failing=failing, state=RunState.RUNNING, hops={7: 3}))
    text = shown(RunPage(replace(details, total=24), queue=QueueCounts(4, 10)))
    assert "queue        about 10 messages in flight, 4 waiting, of all runs" in text
    assert "run r-1 of delays: RUNNING for 4.0 s" in text
    assert "segments ended" in text
    assert "14/24" in text
    assert "24: 14 done, 6 failing, 10 not ended" in text
    assert "at least 24: 1 retries, 6 failed attempts" in text
    assert "1 segment, in at most 4 parts" in text
    assert "failing now  6 × KeyError 'carrier' (attempt 1 of 5, app.py:12)" in text  # noqa: RUF001 - as shown
    assert "segments 2-6, 9" in text
    assert "left" in text
    assert "left" not in shown(RunPage(details))  # only failing segments are left


async def test_what_failed_is_shown_with_the_command_that_retries_it():
    """The output of a run that failed is its list of failures, which is not shown as an output."""
    text = shown(RunPage(await details_of(DrawnRun(20, failed={3: KEY_ERROR}, state=RunState.FAILED))))
    assert "run r-1 of delays: FAILED after 4.0 s" in text
    assert "fanfold redrive r-1 --only 3" in text
    assert "output" not in text


async def test_a_failed_fold_is_shown_with_its_reason_and_segments_do_not_count_as_failed():
    """Brackets in a reason are not markup."""
    details = await details_of(DrawnRun(20, state=RunState.FAILED))
    text = shown(RunPage(details, fold_failure="KeyError: '[/order]' of [red]"))
    assert "fold failed  KeyError: '[/order]' of [red]" in text
    assert "20: 20 done\n" in " ".join(text.split(" ")).replace("  ", "").replace(" \n", "\n") or "20: 20 done" in text
    assert "failed attempts" in text
    assert " failed," not in text.replace("0 failed attempts,", "")


async def test_a_cancelled_run_is_shown_with_the_command_that_continues_it():
    """The page has it, too."""
    details = await details_of(DrawnRun(20, failing={3: KEY_ERROR}, state=RunState.RUNNING))
    cancelled = replace(details.run, state=RunState.CANCELLED, ended_at=details.now)
    source = RunPage(replace(details, run=cancelled))
    assert shown(source).split("next")[1].split() == ["continue", "the", "run:", "fanfold", "redrive", "r-1"]
    assert "not started, because the run was cancelled" in page(source)
    assert source.purpose == "continue the run"


async def test_an_ended_run_shows_its_output_and_what_is_uneven():
    """And items of the ledger that cannot be read."""
    details = await details_of(DrawnRun(20))
    odd = replace(
        details, items=Spread(100, 1, 2, 2, 50, {7: 50}), bad_rows=3, unreadable=[Unreadable("key", "no JSON")]
    )
    text = shown(RunPage(odd))
    assert "output      runs/r-1/0/output.json" in text
    assert "uneven: segment 7 has 50, over five times the mean" in text
    assert "key: no JSON" in text
    assert "bad rows" in text


async def test_the_bar_of_a_redrive_counts_the_redriven_segments_only():
    """With 17 of 20 done before, it is not full."""
    details = await details_of(DrawnRun(20, failing=dict.fromkeys((1, 2, 3), KEY_ERROR), state=RunState.RUNNING))
    redriven = replace(details, run=replace(details.run, gen=1, redo=3))
    assert progress_of(redriven) == ("redriven segments ended", 0, 3)
    assert progress_of(details) == ("segments ended", 17, 20)
    assert "generation 1" in shown(RunPage(redriven))


async def test_an_error_cannot_control_the_terminal():
    """Its message is the user's, and can contain anything, also half of a surrogate pair and a change of direction."""
    failed = {3: "KeyError: \x1b]0;title\x07\x1b[2J \ud83d\u202e"}
    text = shown(RunPage(await details_of(DrawnRun(20, failed=failed, state=RunState.FAILED))))
    assert "\x1b" not in text
    assert r"KeyError \x1b]0;title\x07\x1b[2J \ud83d\u202e" in text


async def test_many_kinds_of_errors_are_cut():
    """The page of the run shows more."""
    failed = {segment: f"Error{chr(65 + segment)}: no" for segment in range(12)}
    text = shown(RunPage(await details_of(DrawnRun(20, failed=failed, state=RunState.FAILED))))
    assert "and 4 more kinds of errors" in text


async def test_without_a_terminal_a_line_is_printed_when_something_changes():
    """An error appears once; the progress at most every five seconds."""
    lines = StatusLines()
    details = await details_of(DrawnRun(20, failing={3: KEY_ERROR}, state=RunState.RUNNING))
    first = lines.lines(RunPage(details))
    assert first == [
        status_line(RunPage(details)),
        "failing now: 1 × KeyError 'carrier' (attempt 1 of 5, app.py:12)",  # noqa: RUF001 - as shown
    ]
    assert lines.lines(RunPage(details)) == []
    assert lines.lines(RunPage(replace(details, done=10))) == []
    later = replace(details, done=10, now=details.now + LINE_SECONDS)
    assert lines.lines(RunPage(later)) == [status_line(RunPage(later))]
    ended = RunPage(replace(later, run=replace(details.run, state=RunState.SUCCEEDED)))
    assert lines.lines(ended) == [status_line(ended)]


async def test_a_line_states_the_progress_the_rate_and_the_time_left():
    """In one line."""
    details = await details_of(DrawnRun(20, failing={3: KEY_ERROR}, state=RunState.RUNNING))
    line = status_line(RunPage(replace(details, total=21)))
    assert line.startswith("run r-1: RUNNING, 19/21 segments ended, 1 failing, ")
    assert line.endswith(" left")


async def test_the_document_lists_every_segment_that_has_ended_or_fails():
    """Secrets are masked."""
    drawn = DrawnRun(5, failed={1: KEY_ERROR}, failing={3: "OSError: no"}, params={"token": "x", "n": 1})
    document = json.loads("".join(status_json(RunPage(await details_of(replace(drawn, state=RunState.RUNNING))))))
    assert document["params"] == {"token": "***", "n": 1}
    assert [(segment["segment"], segment["state"]) for segment in document["segments"]] == [
        (0, "done"),
        (1, "failed"),
        (2, "done"),
        (4, "done"),
        (3, "failing"),
    ]
    assert document["failing_now"][0]["segments"] == [3]
    assert document["failed_groups"][0]["example"]["place"] == "app.py:12"
    assert (document["report"]["done"], document["failed"]) == (3, 1)


@pytest.mark.parametrize("segments", [0, 1])
async def test_a_run_without_data_yet_has_a_status(segments: int):
    """Shortly after its start."""
    failing = {0: KEY_ERROR} if segments else {}
    source = RunPage(await details_of(DrawnRun(segments, failing=failing, state=RunState.RUNNING)))
    assert f"{segments}: 0 done" in shown(source)
    assert json.loads("".join(status_json(source)))["report"]["total"] == segments


async def test_an_error_of_many_lines_takes_one_line_of_bounded_length():
    """The reason of a failure can have 2,000 characters."""
    failed = {3: f"KeyError: first\nsecond {'x' * 2_000}"}
    source = RunPage(await details_of(DrawnRun(20, failed=failed, state=RunState.FAILED)))
    (line,) = [line for line in StatusLines().lines(source) if "KeyError" in line]
    assert line.startswith("failed: 1 × KeyError first second xxx")  # noqa: RUF001 - not a letter
    assert "\n" not in line
    assert len(line) < 600
