"""Completeness of the documentation: navigation, reference, environment variables, links, and generated pictures."""

import importlib
import importlib.util
import re
import sys
import tomllib
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
"""Public modules whose names are listed individually; the others are rendered as a whole."""


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
    return set().union(*(pages_in(entry) for entry in (nav.values() if isinstance(nav, dict) else nav)))


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the site: committed and generated pages."""
    folder = tmp_path_factory.mktemp("pages")
    script("stage").stage(folder)
    return folder


def test_every_page_is_in_the_navigation(staged: Path):
    """This includes generated pages; every navigation entry has a page."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {str(page.relative_to(staged)) for page in (staged / "docs").rglob("*.md")}
    assert sorted(pages - pages_in(nav)) == []
    assert sorted(page for page in pages_in(nav) if not (staged / page).is_file()) == []


@pytest.mark.parametrize("name", sorted({*fanfold.__all__} - {"errors"}))
def test_every_public_name_is_in_the_reference(name: str):
    """The reference renders its docstring."""
    assert re.search(rf"^::: fanfold\.{name}$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("module", SECTIONED)
def test_every_name_of_a_public_module_is_in_the_reference(module: str):
    """Constants are exempt."""
    names = [name for name in importlib.import_module(f"fanfold.{module}").__all__ if not name.isupper()]
    assert [name for name in names if f"::: fanfold.{module}.{name}\n" not in REFERENCE] == []


def test_the_environment_reference_lists_exactly_the_variables_in_use():
    """These are the variables that the package reads, or sets for a handler."""
    source = "".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    read = {*re.findall(r"FANFOLD_[A-Z_]+[A-Z]", source), *(f"FANFOLD_{name}" for name in backend._NAMES)}
    described = set(re.findall(r"FANFOLD_[A-Z_]+[A-Z]", (DOCS / "reference" / "environment.md").read_text()))
    assert described == read


def test_the_committed_pictures_are_up_to_date():
    """``python docs/pictures.py`` writes them."""
    drawn = {f"{picture.__name__}.svg": picture() for picture in script("pictures").PICTURES}
    assert {file.name: file.read_text() for file in (DOCS / "assets").glob("*.svg")} == drawn


def test_the_pictures_show_existing_layers_and_files():
    """The layers are those of ``test_layers.py``, and each file exists."""
    pictures = script("pictures")
    layers = [set(packages.split()) for packages, _ in reversed(pictures.LAYERS)]
    assert layers == [set(layer.split()) for layer in module(ROOT / "tests" / "test_layers.py").LAYERS]
    shown = [path for road in (pictures.BATCH, pictures.RUN, pictures.TEMPLATE) for _, _, path, _ in road]
    assert [path for path in shown if not (ROOT / "src" / "fanfold" / path).exists()] == []


def test_the_command_line_reference_has_every_command():
    """It is generated from ``--help`` when the site is built."""
    stage = script("stage")
    text = stage.commands()
    assert [command for command in ("demo", "run", "replay", "check") if f"## `fanfold {command}`" not in text] == []


def test_files_that_pages_link_to_are_part_of_the_site(staged: Path):
    """The site has the folder structure of the repository."""
    assert (staged / "benchmarks/results/waits/bench.png").is_file()  # an image on a page
    assert (staged / "examples/table_count/README.md").is_file()  # the target of a link
    assert (staged / "docs/reference/commands.md").read_text().count("## `fanfold ") > 5
    assert not (staged / "pyproject.toml").exists()


def test_the_site_has_a_page_for_each_rule(staged: Path):
    """It has the text of ``fanfold check --explain``, is linked from docs/check.md, and is not committed."""
    listed = (staged / "docs/check.md").read_text()
    for rule in RULES:
        assert (staged / f"docs/check/{rule.id}.md").read_text() == page(rule)
        assert f"[{rule.id}](check/{rule.id}.md)" in listed
    assert not (DOCS / "check").exists()


def test_broken_links_in_the_built_site_are_found(tmp_path: Path):
    """Missing anchors and resources from other sites are found, too."""
    (tmp_path / "index.html").write_text(
        '<h1 id="here"></h1><a href="#here">good</a><a href="#there">bad</a><a href="gone.html">bad</a>'
        '<a href="https://example.com">elsewhere</a><script src="https://example.com/x.js"></script><img src="no.svg">'
    )
    faults = list(script("look").faults(tmp_path))
    assert [line.removeprefix("index.html ") for line in faults] == [
        "links to #there, but that page has no such anchor",
        "links to gone.html, which does not exist",
        "loads https://example.com/x.js",
        "links to no.svg, which does not exist",
    ]


def test_the_page_about_installing_has_every_extra():
    """It states what each is for, and its size."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `fanfold(?:\[([a-z,]+)\])?` \|", (DOCS / "install.md").read_text(), re.MULTILINE)
    assert set(rows) == {"", "aws,cli", *project["optional-dependencies"]} - {"cli"}


def test_the_comparison_names_existing_tests():
    """The title of a link to a file of tests is the name of a test in it."""
    named = re.findall(r"\]\(\.\./(tests/[^ ]+) \"(\w+)\"\)", (DOCS / "alternatives.md").read_text())
    assert len(named) > 20
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []


def test_pictures_of_screens_load_nothing_from_other_hosts():
    """``python docs/screens.py`` draws them. Every address in them names a format."""
    addresses = re.findall(r"https?://[^\s\"')]+", (DOCS / "assets" / "screens" / "demo.svg").read_text())
    assert {address for address in addresses if "w3.org" not in address and "textualize" not in address} == set()


def test_the_generated_page_about_the_mapping_is_up_to_date():
    """The script that the page names generates the same text."""
    succeeds(sys.executable, "benchmarks/mapping_page.py", "--check", folder=ROOT)


def test_the_table_of_outages_that_settings_survive_is_up_to_date():
    """``python docs/survival.py`` writes it."""
    assert script("survival").table() in (DOCS / "outages.md").read_text()
