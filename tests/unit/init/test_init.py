"""The files of a new project; existing files are never overwritten."""

import re
from pathlib import Path

import pytest

from fanfold import Job, __version__
from fanfold.errors import ConfigurationError
from fanfold.init import check_project_name, create, project_files

ROOT = Path(__file__).parents[3]
COMMON = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "requirements-dev.in",
    "requirements-dev.txt",
    "samconfig.toml",
    "src/Makefile",
    "src/app.py",
    "src/requirements.in",
    "src/requirements.txt",
    "template.yaml",
    "tests/test_app.py",
}
VARIANTS: list[dict[str, bool]] = [
    {},
    {"job": True},
    {"fifo": True},
    {"powertools": True},
    {"fifo": True, "powertools": True},
    {"breaker": True},
]


def pins(text: str) -> dict[str, set[str]]:
    """Return the exact versions in a lock, by package; some have another one for older Pythons."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)(?:\[\w+\])?==([\w.]+)", text, re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize("options", [option for option in VARIANTS if "job" not in option])
def test_a_new_consumer_has_exactly_these_files(options: dict[str, bool]):
    """Handler, template, tests, events, CI."""
    files = project_files("shop", version="1.2.3", **options)
    assert set(files) == COMMON | {"events/orders.json", "events/poison.json"}


def test_a_new_job_has_exactly_these_files():
    """Also the state machines, and a backend for tests."""
    files = project_files("shop", version="1.2.3", job=True)
    machines = {"statemachine/distributed.asl.json", "statemachine/inline.asl.json"}
    assert set(files) == COMMON | machines | {"events/orders.csv", "events/segments.json", "tests/offline.py"}


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


@pytest.mark.parametrize("option", ["fifo", "powertools"])
def test_a_breaker_and_another_option_are_refused(option: str, tmp_path: Path):
    """In one line; nothing is created."""
    with pytest.raises(ConfigurationError, match=f"--breaker cannot be combined with --{option}"):
        create("shop", tmp_path, version=__version__, breaker=True, **{option: True})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", VARIANTS)
def test_every_file_uses_the_name_and_the_release(options: dict[str, bool]):
    """No file contains a placeholder, a condition, or a path of this repository."""
    files = project_files("shop-orders", version="1.2.3", **options)
    extras = "aws,powertools" if options.get("powertools") else "aws"
    assert f"fanfold[{extras}]==1.2.3" in files["src/requirements.in"]
    assert "fanfold[check,local]==1.2.3" in files["requirements-dev.in"]  # what its Makefile's commands need
    assert 'stack_name = "shop-orders-dev"' in files["samconfig.toml"]
    assert "Value: shop-orders }" in files["template.yaml"]
    placeholders = ("my-project", "examples/", "#if ", "==0.0.0")
    assert [path for path, text in files.items() if any(placeholder in text for placeholder in placeholders)] == []


@pytest.mark.parametrize("options", VARIANTS)
def test_tests_and_functions_use_the_same_exact_versions(options: dict[str, bool]):
    """Each package of the function has one version, also in the tools that test and replay it."""
    files = project_files("shop", version="1.2.3", **options)
    function, tools = pins(files["src/requirements.txt"]), pins(files["requirements-dev.txt"])
    assert function["fanfold"] == {"1.2.3"}
    assert {package: tools[package] for package in function} == function
    assert {"pytest", "ministack", "cfn-lint"} <= tools.keys()
    assert ("aws-xray-sdk" in function) == options.get("powertools", False)


def test_the_versions_are_those_that_the_tests_of_this_repository_use():
    """``requirements/compile.sh`` writes both."""
    tested = pins((ROOT / "requirements" / "dev.txt").read_text())
    locked = pins(project_files("shop", version="1.2.3", powertools=True)["requirements-dev.txt"])
    del locked["fanfold"]
    assert {package: tested[package] for package in locked} == locked


def test_ci_installs_the_release_of_the_sam_cli_that_the_tests_of_this_repository_use():
    """Exactly."""
    workflow = project_files("shop", version="1.2.3")[".github/workflows/ci.yml"]
    (tested,) = pins((ROOT / "requirements" / "sam.txt").read_text())["aws-sam-cli"]
    assert f"pipx install aws-sam-cli=={tested}\n" in workflow


@pytest.mark.parametrize("options", VARIANTS)
def test_each_alarm_names_what_to_do(options: dict[str, bool]):
    """CloudFormation allows at most 1,024 characters."""
    template = project_files("shop", version="1.2.3", **options)["template.yaml"]
    described = re.findall(r"AlarmDescription: (?:!Sub )?>-\n((?: {8}.*\n)+)", template)
    assert len(described) == template.count("Type: AWS::CloudWatch::Alarm") >= 6
    for text in described:
        assert len(" ".join(text.split())) < 900  # names of resources are inserted
        assert re.search(r"\b(Read|Correct|Find|[Ii]ncrease|Use|Check the errors)\b", text), text


def test_the_queue_of_a_fifo_consumer_and_its_dead_letter_queue_are_fifo_queues():
    """The mapping has no window, and batches of at most 10."""
    files = project_files("shop", version="1.2.3", fifo=True)
    assert files["template.yaml"].count("FifoQueue: true") == 2
    assert "BatchSize: 10\n" in files["template.yaml"]
    assert "MaximumBatchingWindowInSeconds:" not in files["template.yaml"]
    assert "concurrency=10," in files["src/app.py"]


@pytest.mark.parametrize("option", ["fifo", "powertools", "breaker"])
def test_an_option_of_a_consumer_is_refused_for_a_job(option: str, tmp_path: Path):
    """The error names the option; nothing is created."""
    with pytest.raises(ConfigurationError, match=f"--{option} is an option of a consumer"):
        create("shop", tmp_path, version=__version__, job=True, **{option: True})
    assert list(tmp_path.iterdir()) == []


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
