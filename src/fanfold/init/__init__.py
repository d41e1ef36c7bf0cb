"""New projects: a consumer or a job, with template, tests, saved events and CI.

The files are in ``templates``: ``common`` for both, and those of a consumer and of a job. In them, ``my-project`` is
replaced by the project's name, and ``0.0.0`` by this release. A job has fanfold's ``template.yaml`` and state machines.
A consumer with a breaker has the files of ``breaker`` instead of those of the same path, and the lines between
``[breaker`` and ``breaker]`` in the others, which are left out of other projects.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fanfold._stack.project import project_folder
from fanfold.errors import ConfigurationError

TEMPLATES: Final = Path(__file__).parent / "templates"
_BREAKER_LINES: Final = re.compile(
    r"^[^\n]*\[breaker\b[^\n]*\n(.*?)^[^\n]*\bbreaker\][^\n]*\n", re.MULTILINE | re.DOTALL
)
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def check_project_name(name: str) -> str:
    """Return a name that is valid for a folder, a stack and a tag.

    Raises:
        ConfigurationError: If it is not 1 to 40 lowercase letters, digits and hyphens, starting with a letter and not
            ending with a hyphen.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a valid name for a project, its folder and its stacks: use 1 to 40 lowercase letters, "
            "digits and hyphens, starting with a letter and not ending with a hyphen, such as shop-orders"
        )
    return name


def project_files(name: str, *, job: bool, version: str, breaker: bool = False) -> dict[str, str]:
    """Return the texts of the files of a new project, by path.

    Args:
        name: The project's name.
        job: True for a job, False for a consumer.
        breaker: True for a consumer with a breaker.
        version: The minimum release of fanfold; later compatible releases are allowed.

    Raises:
        ConfigurationError: If a breaker is requested for a job.
    """
    if job and breaker:
        raise ConfigurationError("--breaker is for consumers: use it without --job")
    texts = {**_texts("common"), **_texts("job" if job else "consumer"), **(_texts("breaker") if breaker else {})}
    texts = {path: _BREAKER_LINES.sub(r"\1" if breaker else "", text) for path, text in texts.items()}
    if job:
        folder = project_folder()
        texts["template.yaml"] = _for_project((folder / "template.yaml").read_text(encoding="utf-8"))
        for file in (folder / "statemachine").iterdir():
            texts[f"statemachine/{file.name}"] = file.read_text(encoding="utf-8")
    return {
        path.replace("dot_", "."): text.replace("my-project", name).replace("0.0.0", version)
        for path, text in sorted(texts.items())
    }


def create(name: str, parent: Path, *, job: bool, version: str, breaker: bool = False) -> Path:
    """Write a new project into a new folder, and return the folder. Existing files are never changed.

    Raises:
        ConfigurationError: If the name is not valid, if a breaker is requested for a job, or if the folder exists or
            cannot be written.
    """
    folder = parent / check_project_name(name)
    files = project_files(name, job=job, version=version, breaker=breaker)
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise ConfigurationError(f"{folder} already exists: choose another name, or another folder") from error
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be created: {error.strerror}") from error
    try:
        _write(folder, files)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigurationError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return folder


def _texts(kind: str) -> dict[str, str]:
    root = TEMPLATES / kind
    return {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
        for file in root.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def _for_project(template: str) -> str:
    """Return fanfold's template with the code in ``src`` and the project's name in tags."""
    return (
        template.replace("examples/flights/", "src/")
        .replace("Description: A fanfold job - ", "Description: my-project - ", 1)
        .replace("project: fanfold", "project: my-project")
        .replace("Key: project, Value: fanfold", "Key: project, Value: my-project")
    )


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")  # make and sh read some of them
