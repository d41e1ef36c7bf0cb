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
