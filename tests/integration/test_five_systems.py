"""The table of the five systems' figures: what holds, and that the page shows what was committed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from systems import archive_bucket, rows, table_count

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / "benchmarks/results/five_systems.json").read_text())


def test_a_figure_holds_if_what_came_is_what_was_expected():
    """Or if what was looked at beside it is right; else it says no."""
    assert rows.row(2, "jobs", 11, 11, "emulated")["holds"] == "yes"
    assert rows.row(2, "jobs", 11, 10, "emulated")["holds"] == "NO"
    assert rows.row(4, "failures", 107, 107, "emulated", holds=False)["holds"] == "NO"


def test_a_result_that_was_not_committed_is_left_out_and_that_is_said(tmp_path: Path, monkeypatch, capsys):
    """No figure is made up."""
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    assert table_count.scaling_committed() == []
    assert "segment_scaling.json is not there: its rows are left out" in capsys.readouterr().err


@pytest.mark.parametrize("figure", COMMITTED["results"], ids=lambda figure: f"{figure['system']}-{figure['figure']}")
def test_every_figure_that_was_committed_holds(figure: dict[str, str]):
    """Of all five systems."""
    assert figure["holds"] == "yes"


def test_the_page_shows_what_was_committed():
    """Line by line, with its command and its date."""
    page = (ROOT / "docs/examples.md").read_text()
    assert {figure["system"] for figure in COMMITTED["results"]} == {"1", "2", "3", "4", "5"}
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    first = cells.index(list(COMMITTED["results"][0]))
    shown = [row for row in cells[first + 2 :] if len(row) == len(cells[first])]
    assert shown == [list(figure.values()) for figure in COMMITTED["results"]]
    assert COMMITTED["command"].removesuffix(" --json benchmarks/results/five_systems.json") in page
    assert COMMITTED["date"] in page


@pytest.mark.parametrize("measured", [table_count.scaling_committed, archive_bucket.times_committed])
def test_the_rows_of_another_script_are_those_of_its_committed_result(measured):
    """Measured again, the table is made again."""
    found = measured()
    assert found
    assert [row for row in COMMITTED["results"] if row in found] == found


@pytest.mark.stack
@pytest.mark.slow
def test_the_quick_table_holds(tmp_path: Path):
    """By the script, as it is run."""
    file = tmp_path / "quick.json"
    command = [sys.executable, ROOT / "benchmarks/five_systems.py", "--quick", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert {row["system"] for row in json.loads(file.read_text())["results"]} == {"1", "2", "3", "4", "5"}
