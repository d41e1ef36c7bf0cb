"""The files of a new project; existing files are never overwritten."""

from pathlib import Path

import pytest

from fanfold import Job, __version__
from fanfold.errors import ConfigurationError
from fanfold.init import check_project_name, create, project_files

COMMON = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "requirements-dev.txt",
    "samconfig.toml",
    "src/Makefile",
    "src/app.py",
    "src/requirements.txt",
    "template.yaml",
    "tests/test_app.py",
}


def test_a_new_project_has_exactly_these_files():
    """Handler, template, tests, events, CI."""
    consumer = project_files("shop", job=False, version="1.2.3")
    assert set(consumer) == COMMON | {"events/orders.json", "events/poison.json"}
    job = project_files("shop", job=True, version="1.2.3")
    machines = {"statemachine/distributed.asl.json", "statemachine/inline.asl.json"}
    assert set(job) == COMMON | machines | {"events/orders.csv", "events/segments.json", "tests/offline.py"}


def test_a_breaker_adds_resources_to_a_consumer_and_changes_nothing_else():
    """Without ``--breaker``, no line about it is left; with it, every line of the other template is still there."""
    without = project_files("shop", job=False, version="1.2.3")
    with_breaker = project_files("shop", job=False, version="1.2.3", breaker=True)
    assert set(with_breaker) == set(without)
    assert [path for path, text in without.items() if "breaker" in text.lower()] == []
    assert [path for path, text in with_breaker.items() if "[breaker" in text or "breaker]" in text] == []
    changed = {path for path, text in with_breaker.items() if text != without[path]}
    assert changed == {"README.md", "template.yaml", "src/app.py", "tests/test_app.py"}
    for path in ("README.md", "template.yaml"):
        lines = iter(with_breaker[path].splitlines())
        assert [line for line in without[path].splitlines() if line not in lines] == []
    assert "  BreakerTable:" in with_breaker["template.yaml"]


def test_a_job_with_a_breaker_is_refused(tmp_path: Path):
    """In one line; nothing is created."""
    with pytest.raises(ConfigurationError, match="--breaker is for consumers: use it without --job"):
        create("shop", tmp_path, job=True, version=__version__, breaker=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", [False, True])
def test_every_file_uses_the_name_and_the_release(job: bool):
    """No file contains the placeholder, or a path of this repository."""
    files = project_files("shop-orders", job=job, version="1.2.3")
    assert files["src/requirements.txt"] == "fanfold[aws]~=1.2.3\n"
    assert "fanfold[check,local]~=1.2.3" in files["requirements-dev.txt"]  # what its Makefile's commands need
    assert 'stack_name = "shop-orders-dev"' in files["samconfig.toml"]
    assert "Value: shop-orders }" in files["template.yaml"]
    assert [path for path, text in files.items() if "my-project" in text or "examples/" in text] == []


@pytest.mark.parametrize(
    "name", ["", "Shop", "9shop", "-shop", "shop-", "shop_orders", "../shop", "a/b", "s" * 41, "ñ"]
)
def test_an_invalid_name_is_refused(name: str, tmp_path: Path):
    """The error states the valid form; nothing is created."""
    with pytest.raises(ConfigurationError, match="is not a valid name for a project"):
        create(name, tmp_path, job=False, version=__version__)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "shop", "shop-orders-2", "s" * 40])
def test_a_valid_project_name_is_a_valid_job_name(name: str):
    """A job can have the same name."""
    assert Job(check_project_name(name)).name == name


def test_an_existing_path_is_not_changed(tmp_path: Path):
    """A folder or a file."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("shop", "file"):
        with pytest.raises(ConfigurationError, match="already exists: choose another name"):
            create(name, tmp_path, job=False, version=__version__)
    assert list((tmp_path / "shop").iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path):
    """In one line."""
    with pytest.raises(ConfigurationError, match="nowhere/shop cannot be created: No such file or directory"):
        create("shop", tmp_path / "nowhere", job=True, version=__version__)
