"""What is packaged for the local AWS."""

import io
import zipfile
from pathlib import Path

from fanfold._stack.deploy import package_folder


def test_the_modules_of_a_folder_are_packaged_and_what_is_hidden_is_not(tmp_path: Path):
    """An environment or what ``sam build`` made beside the code is no part of it."""
    for name in ("app.py", "orders/prices.py", ".venv/lib/other.py", "orders/.aws-sam/app.py", "notes.txt"):
        file = tmp_path / ".home" / name  # the folder itself may lie in a hidden one
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    with zipfile.ZipFile(io.BytesIO(package_folder(tmp_path / ".home"))) as package:
        assert package.namelist() == ["app.py", "orders/prices.py"]
