"""Errors of ``MODULE:NAME`` name the fix, and the line of the user."""

from pathlib import Path

import pytest

from fanfold._base.import_string import load_handler
from fanfold.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("src/app.py:handler", "name a module, not a file, such as app:NAME in the folder src"),
        ("nowhere.py:handler", "name a module, not a file, such as nowhere:NAME in the folder ."),
        ("nowhere:handler", "run the command in the folder that contains it"),
    ],
)
def test_a_module_that_is_not_found_has_a_fix(name: str, message: str):
    """A file in place of a module is a frequent mistake."""
    with pytest.raises(ConfigurationError) as refused:
        load_handler(name)
    assert str(refused.value) == f"module {name.partition(':')[0]!r} was not found: {message}"


def test_a_handler_can_be_named_as_in_lambda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``app.handler`` is Lambda's Handler setting for ``handler`` in ``app.py``."""
    (tmp_path / "named_as_in_lambda.py").write_text("def handler(event, context): ...\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_handler("named_as_in_lambda.handler") is load_handler("named_as_in_lambda:handler")
    with pytest.raises(ConfigurationError, match=r"^module named_as_in_lambda has no 'handle'$"):
        load_handler("named_as_in_lambda.handle")
    with pytest.raises(ConfigurationError, match="named_as_in_lambda:number is an int, not a Lambda handler"):
        load_handler("named_as_in_lambda:number")


@pytest.mark.parametrize("name", ["app", "app.py", ":handler", "app:", ""])
def test_a_name_without_a_module_or_a_handler_is_refused(name: str):
    """The error has an example."""
    with pytest.raises(ConfigurationError, match="must have the form MODULE:NAME, such as app:handler"):
        load_handler(name)


def test_the_error_names_the_folder_that_contains_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In a project, the code is in ``src``, and the command runs in the folder above."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "module_in_src.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        load_handler("module_in_src:handler")
    fix = "set PYTHONPATH=src, or run the command in the folder src"
    assert str(refused.value) == f"module 'module_in_src' was not found: {fix}"


def test_a_setting_that_is_refused_is_reported_with_the_line_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not with the line of fanfold that refused it."""
    (tmp_path / "refused_setting.py").write_text(
        "import fanfold\n\n\n@fanfold.consumer(concurrency=0)\nasync def handler(order): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"concurrency must be .* not 0 \(refused_setting.py, line 4\)$"):
        load_handler("refused_setting:handler")
