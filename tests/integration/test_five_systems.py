"""The table of the five systems' figures: what holds, and that the page shows what was committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import five_systems
from machine import report

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / "benchmarks/results/five_systems.json").read_text())


def test_a_figure_holds_if_what_came_is_what_was_expected():
    """Or if what was looked at beside it is right; else it says no."""
    assert five_systems.row(2, "jobs", 11, 11, "emulated")["holds"] == "yes"
    assert five_systems.row(2, "jobs", 11, 10, "emulated")["holds"] == "NO"
    assert five_systems.row(4, "failures", 107, 107, "emulated", holds=False)["holds"] == "NO"


def test_a_result_that_was_not_committed_is_left_out_and_that_is_said(tmp_path: Path, monkeypatch, capsys):
    """No figure is made up."""
    monkeypatch.setattr(five_systems, "ROOT", tmp_path)
    assert five_systems.scaling_committed() == []
    assert "segment_scaling.json is not there: its rows are left out" in capsys.readouterr().err


@pytest.mark.parametrize("figure", COMMITTED["results"], ids=lambda figure: f"{figure['system']}-{figure['figure']}")
def test_every_figure_that_was_committed_holds(figure: dict[str, str]):
    """Of all five systems."""
    assert figure["holds"] == "yes"


def test_the_page_shows_what_was_committed():
    """Line by line, with its command and its date."""
    page = (ROOT / "docs/examples.md").read_text()
    assert {figure["system"] for figure in COMMITTED["results"]} == {"1", "2", "3", "4", "5"}
    table = report(COMMITTED, COMMITTED["results"], words=6).splitlines()[4:]
    assert "\n".join(table) in page
    assert COMMITTED["command"].removesuffix(" --json benchmarks/results/five_systems.json") in page
    assert COMMITTED["date"] in page


def test_the_rows_of_the_scan_are_those_of_the_committed_result():
    """Measured again, the table is made again."""
    rows = five_systems.scaling_committed()
    assert rows
    assert [row for row in COMMITTED["results"] if row in rows] == rows
