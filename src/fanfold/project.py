"""Where the project's own ``template.yaml`` and examples lie, installed or checked out."""

from __future__ import annotations

from pathlib import Path

from fanfold.errors import ConfigurationError

__all__ = ["project_folder"]


def project_folder() -> Path:
    """Return the folder that holds ``template.yaml`` and the examples: of the installed package, or of the checkout.

    Raises:
        ConfigurationError: If neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "local" / "project", *package.parents[:2]):
        if (folder / "template.yaml").is_file() and (folder / "examples" / "flights").is_dir():
            return folder
    raise ConfigurationError("template.yaml and examples/flights are missing: install fanfold again")
