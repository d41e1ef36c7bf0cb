"""A sweep as sentences, page, CSV, picture and file, and compared with another one."""

import csv
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text as PlotText

from bench_cells import PRICES, sample
from fanfold.bench.cells import OUT_OF_MEMORY, TIMED_OUT, Grid, Sample, Setting
from fanfold.bench.compare import compare
from fanfold.bench.maps import row_of, shade
from fanfold.bench.page import page
from fanfold.bench.plot import draw, figure_of
from fanfold.bench.result import COLUMNS, Result, Workload, about_this_machine, document_of, read_result, write_result
from fanfold.bench.summary import conditions, dollars, sentences
from fanfold.cli.bench_files import Files
from fanfold.errors import ConfigurationError, MissingExtraError

SAMPLES = (
    sample(10, 128, seconds=2.0), sample(10, 128, repeat=1, seconds=2.01), sample(10, 512, seconds=1.0),
    sample(100, 128, end=OUT_OF_MEMORY), sample(100, 512, seconds=0.2), sample(100, 512, repeat=1, seconds=0.2),
)  # fmt: skip


def result(*samples: Sample, handler: str = "app:handler", **changes: Any) -> Result:
    grid = Grid((10, 100), (128, 512), repeats=2)
    work = Workload(handler, "this machine", 100, 1, "0123", 2.0, 60.0)
    limits = "memory limited by cgroup v1"
    default = Result(work, grid, PRICES, samples or SAMPLES, about_this_machine(), limits, consumer=True)
    return replace(default, **changes)


class Text(HTMLParser):
    """The visible text of a page, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen, self.tags = "", set[str]()
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.seen += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def test_the_recommendation_comes_first():
    """With its cost, its speed, and the settings that ran out of memory."""
    lines = sentences(result())
    assert lines[0].startswith("Cheapest: 100 at 512 MB, $")
    assert "Out of memory: 100 concurrent handlers at 128 MB; 512 MB is sufficient." in lines


ADJUSTED = (sample(60, 512, seconds=0.25), sample(10, 128, end=OUT_OF_MEMORY))


def test_a_limit_that_adjusts_itself_is_compared_with_the_fastest_fixed_one():
    """For each memory; one that was not measured has its reason."""
    lines = sentences(result(adjusting=ADJUSTED))[-2:]
    assert lines == [
        'concurrency="auto" at 512 MB: a limit of 60 at the end, 800 records/s, 80% of the fastest fixed one, 100.',
        'concurrency="auto" at 128 MB: out of memory: made up.',
    ]
    alone = sentences(result(sample(10, 128), adjusting=ADJUSTED[:1]))[-1]
    assert alone == 'concurrency="auto" at 512 MB: a limit of 60 at the end, 800 records/s.'


@pytest.mark.parametrize(("concurrency", "row"), [(500, 0), (100, 0), (10, 1), (1, 2), (32, 0.4949)])
def test_a_limit_between_two_rows_is_drawn_between_them(concurrency: int, row: float):
    """On a logarithmic scale; beyond the first or the last row, in that row."""
    assert row_of(concurrency, [100, 10, 1]) == pytest.approx(row, abs=1e-3)


def test_ties_are_listed():
    """Two cells with the same cost and speed."""
    lines = sentences(result(sample(10, 512), sample(20, 512), sample(30, 512, seconds=20.0)))
    assert "; tied within the noise with 20 at 512 MB." in lines[0]


def test_the_fastest_of_the_ties_is_named():
    """Four times the memory for a quarter of the time: as cheap, and faster."""
    lines = sentences(result(sample(10, 128, seconds=8.0), sample(50, 512, seconds=2.0)))
    assert lines[0].endswith("The fastest of these is 50 at 512 MB, 100 records/s.")


def test_without_a_cell_in_time_the_nearest_is_named():
    """Nothing is recommended then."""
    late = result(grid=replace(result().grid, within_seconds=0.01))
    assert sentences(late)[0] == "Recommendation: none; no cell meets 0.01 s per batch; the nearest is 100 at 512 MB."
    nothing = result(sample(10, 128, end=TIMED_OUT))
    assert sentences(nothing)[0] == "Recommendation: none; no cell could be measured."
    assert "Not measured: 10 at 128 MB" in sentences(nothing)[1]


@pytest.mark.parametrize(
    ("present", "text"),
    [
        (Setting(10, 512), "changing would save "),
        (Setting(100, 512), "it is the cheapest"),
        (Setting(110, 512), "it is tied with the cheapest"),
    ],
)
def test_the_present_setting_is_compared_with_the_cheapest(present: Setting, text: str):
    """It is more expensive, the same, or a tie."""
    samples = (*SAMPLES, sample(110, 512, seconds=0.2))
    assert any(text in line for line in sentences(result(*samples, present=present)))


def test_conditions_state_the_limits_and_the_prices():
    """They also state if a sweep was interrupted."""
    text = " ".join(conditions(result()))
    assert "memory limited by cgroup v1" in text
    assert "us-east-1 as of 2026-11" in text
    assert "not complete" not in text
    assert any("not complete" in line for line in conditions(result(sample(10, 128))))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "$0"),
        (6.1e-7, "under $0.000001"),
        (0.000012345, "$0.000012"),
        (0.00274, "$0.00274"),
        (1.5, "$1.5"),
        (12_345.6, "$12,346"),
    ],
)
def test_prices_are_shown_with_three_significant_digits(value: float, text: str):
    """Small prices, too; large ones have no cents."""
    assert dollars(value) == text


def test_the_page_is_self_contained_and_shows_every_cell():
    """No script, no address, and a tooltip for each cell of each map."""
    text = page(result())
    read = Text(text)
    assert not read.tags & {"script", "link", "img", "iframe"}
    assert "://" not in text
    assert len(re.findall(r'<g class="cell"><title>', text)) == 3 * 4
    assert "heavy line: limit of memory" in read.seen


def test_a_cell_that_ran_out_of_memory_is_hatched_and_has_no_number():
    """It has a label, a pattern, and a line at its edge."""
    text = page(result())
    assert text.count('fill="url(#hatch-') == 3
    assert 'class="frontier"' in text
    assert "<title>100 at 128 MB: out of memory: made up</title>" in text


def test_names_and_reasons_are_shown_as_text():
    """HTML in them is escaped."""
    bad = replace(sample(10, 128, end=OUT_OF_MEMORY), reason="<b>&")
    text = page(result(bad, handler="<script>alert(1)</script>", notes=("<i>",)))
    assert "<script>" not in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_page_of_a_handler_that_is_not_a_consumer_has_no_record_durations():
    """A page of a sweep without limits has no throttling."""
    bare = replace(sample(10, 128), record_seconds=None, throttled_seconds=None, peak_memory_mb=None, failed=20,
                   cold_start_seconds=None)  # fmt: skip
    read = Text(page(result(bare)))
    assert "10.0% of the records failed" in read.seen
    assert "record p50 /" not in read.seen.replace("record p50 / p95 / p99 / max ms", "")


def test_the_csv_file_has_a_row_for_each_cell(tmp_path: Path):
    """A value that was not measured is empty, not 0."""
    Files(csv=tmp_path / "cells.csv", png=None, html=None, folder=None).write(result())
    cells = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    assert list(cells[0]) == list(COLUMNS)
    assert [cell["end"] for cell in cells] == ["measured", "measured", "out of memory", "measured"]
    assert cells[2]["records_per_second"] == cells[2]["batch_p95_seconds"] == ""
    assert cells[2]["out_of_memory_kills"] == "1"


@pytest.mark.uncounted
def test_the_picture_is_drawn(tmp_path: Path):
    """A PNG file. An error names a missing folder."""
    draw(result(adjusting=ADJUSTED), tmp_path / "maps.png")
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        draw(result(), tmp_path / "none" / "maps.png")


def sweep_of(concurrencies: int, memories: int) -> Result:
    """Return a sweep of this many values on each axis, with long numbers and names."""
    samples = [
        sample(10**row, 1_024 + 512 * column, seconds=0.0002 * (1 + column))
        for row in range(concurrencies)
        for column in range(memories)
    ]
    return result(*samples, handler="package.with_a_long_name.and_a_module:handler_with_a_long_name")


SIZES = [(1, 1), (1, 2), (2, 2), (1, 8), (5, 1), (5, 6), (5, 13)]


@pytest.mark.uncounted
@pytest.mark.parametrize("size", SIZES)
def test_no_label_of_the_picture_is_clipped(size: tuple[int, int]):
    """Every text is within the picture, and the number of a cell within its cell."""
    figure = figure_of(sweep_of(*size))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for label in figure.findobj(PlotText):
        if label.get_text() and label.get_visible():
            box = label.get_window_extent(canvas.get_renderer())
            assert min(box.x0, box.y0) >= 0, label
            assert min(figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= 0, label
    for axes in figure.axes:
        cell_width = axes.get_window_extent().width / size[1]
        assert all(label.get_window_extent().width <= cell_width for label in axes.texts)


@pytest.mark.parametrize("size", SIZES)
def test_no_label_of_the_page_is_clipped(size: tuple[int, int]):
    """Every text of a map is within its viewBox, at 8 pixels for a letter."""
    for svg in re.findall(r"<svg .*?</svg>", page(sweep_of(*size)), re.DOTALL):
        width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
        texts = re.findall(r'<text[^>]*? x="(\d+)" y="(\d+)"(?: text-anchor="(\w+)")?>([^<]*)<', svg)
        assert len(texts) == size[0] * size[1] + sum(size) + 2
        for x, y, anchor, text in texts:
            begin = int(x) - 8 * len(text) * {"middle": 0.5, "end": 1, "": 0}[anchor]
            assert 0 <= begin <= width - 8 * len(text), text
            assert 12 <= int(y) <= height
        assert "rotate(-90" not in svg


@pytest.mark.uncounted
def test_the_cells_of_a_small_sweep_are_larger():
    """In the picture, and on the page."""
    small, large = (figure_of(sweep_of(*size)).axes[0] for size in ((2, 2), (5, 6)))
    for axes in (small, large):
        axes.figure.canvas.draw()
    assert small.get_window_extent().width / 2 > 1.5 * large.get_window_extent().width / 6
    assert 'width="150" height="80"' in page(sweep_of(2, 2))


def test_a_shade_is_a_position_between_minimum_and_maximum():
    """On a logarithmic scale, equal ratios are equal steps."""
    one, two, three = Setting(1, 128), Setting(2, 128), Setting(3, 128)
    assert shade({one: 1.0, two: 10.0, three: 100.0}, logarithmic=True)[two] == pytest.approx(0.5)
    assert shade({one: 1.0, two: 10.0, three: 100.0}, logarithmic=False)[two] == pytest.approx(1 / 11)
    assert shade({one: 36.0, two: 36.5}, logarithmic=False)[two] < 0.1
    assert shade({one: 100.0, two: 103.0}, logarithmic=True)[two] < 0.1
    assert shade({one: 0.0}, logarithmic=False) == {one: 0.0}
    assert shade({}, logarithmic=True) == {}


def test_a_written_result_is_read_unchanged(tmp_path: Path):
    """Including the present setting and samples without durations."""
    first = result(present=Setting(10, 512), notes=("a note",), adjusting=ADJUSTED)
    write_result(first, tmp_path / "bench.json")
    second = read_result(tmp_path / "bench.json")
    assert document_of(second) == document_of(first)
    assert second.samples == first.samples
    assert second.adjusting == first.adjusting
    assert second.grid == first.grid


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "is not a result"), ('{"fanfold_bench": 99}', "of this version"),
     ('{"fanfold_bench": 1}', "is damaged: the result has no key")],
)  # fmt: skip
def test_a_file_that_is_not_a_result_is_refused(tmp_path: Path, text: str, message: str):
    """The error states why; also for a missing file, and one that cannot be written."""
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_result(tmp_path / "bench.json")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_result(tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_result(result(), tmp_path / "none" / "bench.json")


def test_the_json_document_contains_the_findings():
    """The recommendation, and the memory that each concurrency needs."""
    findings = json.loads(json.dumps(document_of(result())))["findings"]
    assert (findings["cheapest"]["concurrency"], findings["cheapest"]["clear"]) == (100, True)
    assert {"concurrency": 100, "killed_at_mb": 128, "fits_from_mb": 512} in findings["frontier"]


def test_two_sweeps_are_compared_setting_by_setting():
    """Ratios are second to first. A difference within the noise is "same"."""
    faster = tuple(replace(taken, batch_seconds=tuple(s / 2 for s in taken.batch_seconds)) for taken in SAMPLES[:3])
    comparison = compare(result(), result(*faster, *SAMPLES[3:]))
    assert {row.setting: row.text for row in comparison.rows} == {
        Setting(10, 128): "faster", Setting(10, 512): "faster", Setting(100, 128): "out of memory",
        Setting(100, 512): "same",
    }  # fmt: skip
    assert comparison.kind == "agree"


def test_a_comparison_lists_the_conditions_that_differ():
    """Handlers and settings."""
    other = result(sample(10, 128, seconds=9.0), handler="app:other")
    lines = compare(result(), other).lines
    assert "The conditions differ: handlers: 'app:handler' and 'app:other'." in lines
    assert "3 settings were measured in only one of the sweeps." in lines
    assert compare(result(sample(10, 128, end=OUT_OF_MEMORY)), other).rows[0].text == "out of memory, measured"
    assert compare(other, result()).rows[0].text == "faster"
    assert compare(result(), other).rows[0].text == "slower"


def test_a_folder_is_written_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    """All but the picture, with the install command; a picture that was requested is refused at the start."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files = Files(csv=None, png=None, html=None, folder=tmp_path / "out")
    files.check()
    assert capsys.readouterr().err == "bench.png is not drawn: pip install 'fanfold[bench]' draws it\n"
    assert sorted(file.name for file in files.write(result())) == ["bench.csv", "bench.html", "bench.json"]
    with pytest.raises(MissingExtraError, match="bench"):
        Files(csv=None, png=tmp_path / "maps.png", html=None, folder=None).check()
