"""The location of the project's ``template.yaml`` and examples, installed or checked out."""

from __future__ import annotations

from pathlib import Path

from fanfold.errors import ConfigurationError


def project_folder() -> Path:
    """Return the folder that contains ``template.yaml`` and the examples, in the installed package or the checkout.

    Raises:
        ConfigurationError: If neither exists.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "files", *here.parents[1:3]):
        if (folder / "template.yaml").is_file() and (folder / "examples" / "flights").is_dir():
            return folder
    raise ConfigurationError("template.yaml and examples/flights are missing: reinstall fanfold")
