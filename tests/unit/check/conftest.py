"""Fixtures of the tests of ``fanfold check``."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fanfold.check.run import Report, check_template


@pytest.fixture
def check(tmp_path: Path) -> Any:
    """Return a function that checks a template, given as a value."""

    def checked(content: dict[str, Any], **options: Any) -> Report:
        file = tmp_path / "template.yaml"
        file.write_text(yaml.safe_dump(content))
        return check_template(file, **options)

    return checked
