"""The documentation is whole: pages can be found, public names and variables are described, pictures are fresh."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import fanfold
from command import succeeds
from fanfold.aws import backend
from fanfold.check.rules import RULES, page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
SECTIONED = ["folds", "sinks", "testing", "inmemory", "capture", "payloads"]
"""Public modules whose names are listed one by one; others are shown whole."""


def script(name: str) -> ModuleType:
    """Return a script of docs/ as a module."""
    return module(DOCS / f"{name}.py")


def module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pages_in(nav: Any) -> set[str]:
    if isinstance(nav, str):
        return {nav}
    return set().union(*(pages_in(each) for each in (nav.values() if isinstance(nav, dict) else nav)))


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site is built from: the committed pages, and those that are generated."""
    folder = tmp_path_factory.mktemp("pages")
    script("stage").stage(folder)
    return folder


def test_every_page_is_in_the_navigation(staged: Path):
    """Also the generated pages: a page that nobody finds is not written."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {str(page.relative_to(staged)) for page in (staged / "docs").rglob("*.md")}
    assert sorted(pages - pages_in(nav)) == []
    assert sorted(page for page in pages_in(nav) if not (staged / page).is_file()) == []


@pytest.mark.parametrize("name", sorted({*fanfold.__all__} - {"errors"}))
def test_every_public_name_is_in_the_reference(name: str):
    """From its docstring."""
    assert re.search(rf"^::: fanfold\.{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("module", SECTIONED)
def test_every_name_of_a_public_module_is_in_the_reference(module: str):
    """Constants apart."""
    names = [name for name in importlib.import_module(f"fanfold.{module}").__all__ if not name.isupper()]
    assert [name for name in names if f"::: fanfold.{module}.{name}\n" not in REFERENCE] == []


def test_every_variable_is_described_and_no_other():
    """Those that the package reads, or sets for a handler."""
    source = "".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    read = {*re.findall(r"FANFOLD_[A-Z_]+[A-Z]", source), *(f"FANFOLD_{name}" for name in backend._NAMES)}
    described = set(re.findall(r"FANFOLD_[A-Z_]+[A-Z]", (DOCS / "reference" / "environment.md").read_text()))
    assert described == read


def test_the_pictures_are_what_the_script_draws():
    """They are written by ``python docs/pictures.py``."""
    drawn = {f"{picture.__name__}.svg": picture() for picture in script("pictures").PICTURES}
    assert {file.name: file.read_text() for file in (DOCS / "assets").glob("*.svg")} == drawn


def test_the_pictures_show_the_layers_and_files_that_there_are():
    """The layers are those that imports follow; each file on a road exists."""
    pictures = script("pictures")
    layers = [set(packages.split()) for packages, _ in reversed(pictures.LAYERS)]
    assert layers == [set(layer.split()) for layer in module(ROOT / "tests" / "test_layers.py").LAYERS]
    shown = [path for road in (pictures.BATCH, pictures.RUN, pictures.TEMPLATE) for _, _, path, _ in road]
    assert [path for path in shown if not (ROOT / "src" / "fanfold" / path).exists()] == []


def test_the_reference_of_the_command_line_has_every_command():
    """As the commands describe themselves, made when the site is built."""
    stage = script("stage")
    text = stage.commands()
    assert [command for command in ("demo", "run", "replay", "check") if f"## `fanfold {command}`" not in text] == []


def test_what_pages_link_to_goes_to_the_site(staged: Path):
    """And the site mirrors the repository."""
    assert (staged / "benchmarks/results/waits/bench.png").is_file()  # shown by a page
    assert (staged / "examples/table_count/README.md").is_file()  # linked by one
    assert (staged / "docs/reference/commands.md").read_text().count("## `fanfold ") > 5
    assert not (staged / "pyproject.toml").exists()


def test_the_site_has_a_page_for_each_rule(staged: Path):
    """As ``fanfold check --explain`` prints it, and linked from the page of ``fanfold check``; none is committed."""
    listed = (staged / "docs/check.md").read_text()
    for rule in RULES:
        assert (staged / f"docs/check/{rule.id}.md").read_text() == page(rule)
        assert f"[{rule.id}](check/{rule.id}.md)" in listed
    assert not (DOCS / "check").exists()


def test_a_link_that_leads_nowhere_is_found_in_the_built_site(tmp_path: Path):
    """So are places that are not on their page, and what would be loaded from elsewhere."""
    (tmp_path / "index.html").write_text(
        '<h1 id="here"></h1><a href="#here">good</a><a href="#there">bad</a><a href="gone.html">bad</a>'
        '<a href="https://example.com">elsewhere</a><script src="https://example.com/x.js"></script><img src="no.svg">'
    )
    found = list(script("look").faults(tmp_path))
    assert [line.removeprefix("index.html ") for line in found] == [
        "links to #there, but there is no such place on that page",
        "links to gone.html, which is not there",
        "loads https://example.com/x.js",
        "links to no.svg, which is not there",
    ]


def test_the_page_of_what_becomes_of_a_batch_is_up_to_date():
    """Made again, by the script it names, it is the same."""
    succeeds(sys.executable, "benchmarks/mapping_page.py", "--check", folder=ROOT)
