"""A sweep in words, as a page, as CSV, as a picture, in a file, and beside another one."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench_cells import PRICES, sample
from fanfold.bench.cells import OUT_OF_MEMORY, TIMED_OUT, Grid, Sample, Setting
from fanfold.bench.compare import compare
from fanfold.bench.maps import shade
from fanfold.bench.page import page
from fanfold.bench.plot import draw
from fanfold.bench.result import COLUMNS, Result, Workload, about_this_machine, document_of, read_result, write_result
from fanfold.bench.summary import conditions, dollars, sentences
from fanfold.cli.bench_files import Files
from fanfold.errors import ConfigurationError

SAMPLES = (
    sample(10, 128, seconds=2.0), sample(10, 128, repeat=1, seconds=2.01), sample(10, 512, seconds=1.0),
    sample(100, 128, end=OUT_OF_MEMORY), sample(100, 512, seconds=0.2), sample(100, 512, repeat=1, seconds=0.2),
)  # fmt: skip


def result(*samples: Sample, handler: str = "app:handler", **changes: Any) -> Result:
    grid = Grid((10, 100), (128, 512), repeats=2)
    work = Workload(handler, "this machine", 100, 1, "0123", 2.0, 60.0)
    made = Result(work, grid, PRICES, samples or SAMPLES, about_this_machine(), "memory by cgroup v1", consumer=True)
    return replace(made, **changes)


class Text(HTMLParser):
    """What a reader sees of a page, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen, self.tags = "", set[str]()
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.seen += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def test_the_recommendation_comes_first():
    """With its cost, its speed, and what memory forbids."""
    lines = sentences(result())
    assert lines[0].startswith("Cheapest: 100 at 512 MB, $")
    assert "Out of memory: 100 handlers at once at 128 MB; 512 MB were enough." in lines


def test_ties_are_said():
    """The same work at the same price: one is not better."""
    lines = sentences(result(sample(10, 512), sample(20, 512), sample(30, 512, seconds=20.0)))
    assert "cannot tell it from 20 at 512 MB: the difference is within the noise" in lines[0]


def test_of_what_costs_the_same_the_fastest_is_named():
    """Four times the memory for a quarter of the time: as cheap, and quicker."""
    lines = sentences(result(sample(10, 128, seconds=8.0), sample(50, 512, seconds=2.0)))
    assert lines[0].endswith("Of these the fastest is 50 at 512 MB, 100 records/s.")


def test_without_a_cell_in_time_the_nearest_is_named():
    """Nothing is recommended then."""
    late = result(grid=replace(result().grid, within_seconds=0.01))
    assert sentences(late)[0] == "Recommendation: none; no cell meets 0.01 s a batch; the nearest is 100 at 512 MB."
    nothing = result(sample(10, 128, end=TIMED_OUT))
    assert sentences(nothing)[0] == "Recommendation: none; no cell could be measured."
    assert "Not measured: 10 at 128 MB" in sentences(nothing)[1]


@pytest.mark.parametrize(
    ("present", "words"),
    [
        (Setting(10, 512), "changing would save "),
        (Setting(100, 512), "it is the cheapest"),
        (Setting(110, 512), "cannot tell it from the cheapest"),
    ],
)
def test_the_present_setting_is_held_against_the_cheapest(present: Setting, words: str):
    """It saves, is it, or cannot be told from it."""
    samples = (*SAMPLES, sample(110, 512, seconds=0.2))
    assert any(words in line for line in sentences(result(*samples, present=present)))


def test_conditions_tell_where_and_by_which_prices():
    """And that a sweep was interrupted."""
    told = " ".join(conditions(result()))
    assert "memory by cgroup v1" in told
    assert "us-east-1 as of 2026-11" in told
    assert "not complete" not in told
    assert any("not complete" in line for line in conditions(result(sample(10, 128))))


@pytest.mark.parametrize(
    ("value", "words"), [(0.000012345, "$0.000012"), (0.00274, "$0.00274"), (1.5, "$1.5"), (12_345.6, "$12,346")]
)
def test_dollars_have_the_figures_that_count(value: float, words: str):
    """Also when they are few."""
    assert dollars(value) == words


def test_the_page_asks_for_nothing_and_holds_every_cell():
    """No script, no address; a title under the pointer for each cell of each map."""
    text = page(result())
    read = Text(text)
    assert not read.tags & {"script", "link", "img", "iframe"}
    assert "://" not in text
    assert len(re.findall(r'<g class="cell"><title>', text)) == 3 * 4
    assert "heavy line: where memory ends" in read.seen


def test_what_ran_out_of_memory_is_hatched_framed_and_never_a_number():
    """It has words, a pattern and a line at its edge."""
    text = page(result())
    assert text.count('fill="url(#hatch-') == 3
    assert 'class="frontier"' in text
    assert "<title>100 at 128 MB: out of memory: made up</title>" in text


def test_names_and_reasons_are_shown_as_text():
    """Whatever they hold."""
    bad = replace(sample(10, 128, end=OUT_OF_MEMORY), reason="<b>&")
    text = page(result(bad, handler="<script>alert(1)</script>", notes=("<i>",)))
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_page_of_a_handler_that_is_no_consumer_has_no_records():
    """And one of a sweep without limits no throttling."""
    bare = replace(sample(10, 128), record_seconds=None, throttled_seconds=None, peak_memory_mb=None, failed=20,
                   cold_start_seconds=None)  # fmt: skip
    read = Text(page(result(bare)))
    assert "10.0% of the records came back" in read.seen
    assert "a record p50" not in read.seen


def test_the_sheet_has_a_line_for_each_cell(tmp_path: Path):
    """What was not measured is empty, not nought."""
    Files(csv=tmp_path / "cells.csv", png=None, html=None, folder=None).write(result())
    cells = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    assert list(cells[0]) == list(COLUMNS)
    assert [cell["end"] for cell in cells] == ["measured", "measured", "out of memory", "measured"]
    assert cells[2]["records_per_second"] == cells[2]["batch_p95_seconds"] == ""
    assert cells[2]["out_of_memory_kills"] == "1"


def test_the_picture_is_drawn(tmp_path: Path):
    """A PNG of some size; a folder that is missing is told."""
    draw(result(), tmp_path / "maps.png")
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        draw(result(), tmp_path / "none" / "maps.png")


def test_a_shade_is_a_place_between_least_and_most():
    """Equal ratios are equal steps where the scale is logarithmic."""
    one, two, three = Setting(1, 128), Setting(2, 128), Setting(3, 128)
    assert shade({one: 1.0, two: 10.0, three: 100.0}, logarithmic=True)[two] == pytest.approx(0.5)
    assert shade({one: 1.0, two: 10.0, three: 100.0}, logarithmic=False)[two] == pytest.approx(1 / 11)
    assert shade({one: 36.0, two: 36.5}, logarithmic=False)[two] < 0.1
    assert shade({one: 100.0, two: 103.0}, logarithmic=True)[two] < 0.1
    assert shade({one: 0.0}, logarithmic=False) == {one: 0.0}
    assert shade({}, logarithmic=True) == {}


def test_a_result_is_read_as_it_was_written(tmp_path: Path):
    """The present setting and samples without durations included."""
    first = result(present=Setting(10, 512), notes=("a note",))
    write_result(first, tmp_path / "bench.json")
    second = read_result(tmp_path / "bench.json")
    assert document_of(second) == document_of(first)
    assert second.samples == first.samples
    assert second.grid == first.grid


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is not JSON"), ("[]", "is no result"), ('{"fanfold_bench": 99}', "another version"),
     ('{"fanfold_bench": 1}', "is no whole result: KeyError")],
)  # fmt: skip
def test_a_file_that_is_no_result_is_told(tmp_path: Path, text: str, words: str):
    """With what is wrong; a missing one, too, and one that cannot be written."""
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        read_result(tmp_path / "bench.json")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_result(tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_result(result(), tmp_path / "none" / "bench.json")


def test_a_document_says_what_was_found():
    """For those who read JSON."""
    found = json.loads(json.dumps(document_of(result())))["findings"]
    assert (found["cheapest"]["concurrency"], found["cheapest"]["clear"]) == (100, True)
    assert {"concurrency": 100, "killed_at_mb": 128, "fits_from_mb": 512} in found["frontier"]


def test_two_sweeps_are_compared_setting_by_setting():
    """Ratios are second to first; a difference within the noise is the same."""
    faster = tuple(replace(each, batch_seconds=tuple(s / 2 for s in each.batch_seconds)) for each in SAMPLES[:3])
    found = compare(result(), result(*faster, *SAMPLES[3:]))
    words = {row.setting: row.words for row in found.rows}
    assert words == {
        Setting(10, 128): "faster", Setting(10, 512): "faster", Setting(100, 128): "out of memory",
        Setting(100, 512): "same",
    }  # fmt: skip
    assert found.kind == "agree"


def test_sweeps_that_were_not_measured_alike_say_so():
    """Other handlers, other settings."""
    other = result(sample(10, 128, seconds=9.0), handler="app:other")
    lines = compare(result(), other).lines
    assert "They were not measured alike: handlers: 'app:handler' and 'app:other'." in lines
    assert "3 settings are in one of them only." in lines
    assert compare(result(sample(10, 128, end=OUT_OF_MEMORY)), other).rows[0].words == "out of memory, measured"
    assert compare(other, result()).rows[0].words == "faster"
    assert compare(result(), other).rows[0].words == "slower"
