"""Environment variables from a file in SAM's format."""

import json
from pathlib import Path
from typing import Any

import pytest

from fanfold._replay.env_vars import read_env_vars
from fanfold.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "env.json"


def read(file: Path, content: Any, function: str | None = None) -> dict[str, str]:
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_env_vars(file, function)


def test_variables_of_the_function_take_precedence_over_those_of_all_functions(file: Path):
    """Those of other functions are ignored; an event of a function has its variables."""
    content = {"Parameters": {"A": "all", "B": "all"}, "Do": {"B": "own"}, "Other": {"A": "other"}}
    assert read(file, content, "Do") == {"A": "all", "B": "own"}
    assert read(file, content, "Do.Jobs") == {"A": "all", "B": "own"}
    assert read(file, content, "Third") == {"A": "all", "B": "all"}


def test_without_a_template_the_only_function_is_meant(file: Path):
    """Or all functions."""
    assert read(file, {"Do": {"A": "own"}}) == {"A": "own"}
    assert read(file, {"Parameters": {"A": "all"}}) == {"A": "all"}


def test_values_become_strings_as_in_sam(file: Path):
    """Numbers, Booleans, and null."""
    content = {"Do": {"A": 1, "B": 1.5, "C": True, "D": None, "E": "", "F": False}}
    assert read(file, content, "Do") == {"A": "1", "B": "1.5", "C": "true", "D": "", "E": "", "F": "false"}


@pytest.mark.parametrize(
    ("content", "function", "problem"),
    [
        ("{", None, "is not JSON"),
        ([], None, 'is not in SAM\'s format, such as {"Parameters": {"TABLE": "orders-test"}}'),
        ({"TABLE": "x"}, None, "is not in SAM's format"),
        ({"Do": {"A": [1]}}, "Do", "Do.A must be a string, a number, or a Boolean, not [1]"),
        ({"Do": {}, "Other": {}}, None, "has variables for Do, Other: select one with --template and --function"),
        ({"Do": {}}, "Other", "has no variables for Other; its functions: Do"),
        ({}, None, "has no variables for any function; its functions: none"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(file: Path, content: Any, function: str | None, problem: str):
    """In one line with the option, the file, and the problem."""
    with pytest.raises(ConfigurationError) as refused:
        read(file, content, function)
    assert str(refused.value).startswith("--env-vars ")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    """It does not exist, or is a folder."""
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_env_vars(tmp_path / "none.json", None)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_env_vars(tmp_path, None)
