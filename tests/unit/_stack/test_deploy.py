"""Packaging code for the local AWS."""

import io
import zipfile
from pathlib import Path

from fanfold._stack.deploy import package_folder


def test_the_modules_of_a_folder_are_packaged_without_dot_folders(tmp_path: Path):
    """A virtual environment, or the output of ``sam build`` next to the code, is not packaged."""
    for name in ("app.py", "orders/prices.py", ".venv/lib/other.py", "orders/.aws-sam/app.py", "notes.txt"):
        file = tmp_path / ".home" / name  # the folder itself may be inside a dot folder
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    with zipfile.ZipFile(io.BytesIO(package_folder(tmp_path / ".home"))) as package:
        assert package.namelist() == ["app.py", "orders/prices.py"]
