"""New projects: a consumer or a job, with template, tests, saved events and CI.

The files are in ``templates``: ``common`` for all, ``consumer`` or ``job``, then those of each option, which replace
others. A line that ends with ``#if fifo`` or ``#if not fifo`` is only in projects with or without that option. In all
files, ``my-project`` is replaced by the project's name, and ``0.0.0`` by this release. A job has fanfold's
``template.yaml`` and state machines. ``locks`` contains the versions that fanfold's own tests use. A consumer with
a breaker also has the lines between ``[breaker`` and ``breaker]``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fanfold._stack.project import project_folder
from fanfold.errors import ConfigurationError

TEMPLATES: Final = Path(__file__).parent / "templates"
_BREAKER_LINES: Final = re.compile(
    r"^[^\n]*\[breaker\b[^\n]*\n(.*?)^[^\n]*\bbreaker\][^\n]*\n", re.MULTILINE | re.DOTALL
)
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_ONLY_IF: Final = re.compile(r"^(.*?)[ \t]*#if (not )?(\w+)\n", re.MULTILINE)
_LOCK: Final = """# Exact versions, so that tests and `sam build` use the same. Edit {source}, then run `make lock`.
fanfold==0.0.0
"""
_STANDARD_CONCURRENCY: Final = "concurrency=100,  # concurrent orders in one execution environment"
_FIFO_CONCURRENCY: Final = (
    "concurrency=10,  # concurrent message groups; a batch of a FIFO queue has at most 10 messages"
)


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


def project_files(
    name: str, *, version: str, job: bool = False, fifo: bool = False, powertools: bool = False, breaker: bool = False
) -> dict[str, str]:
    """Return the texts of the files of a new project, by path.

    Args:
        name: The project's name.
        version: The release of fanfold that the project uses, exactly.
        job: True for a job, False for a consumer.
        fifo: True for a consumer of a FIFO queue.
        powertools: True for a consumer with the logger, metrics and tracer of Powertools.
        breaker: True for a consumer with a breaker.

    Raises:
        ConfigurationError: If these options cannot be combined.
    """
    options = {"fifo": fifo, "powertools": powertools, "breaker": breaker}
    chosen = [option for option, is_chosen in options.items() if is_chosen]
    _check_options(chosen, job=job)
    texts = {**_texts("common"), **_texts("job" if job else "consumer")}
    for option in chosen:
        texts |= _texts(f"consumer_{option}")
    texts = {path: _BREAKER_LINES.sub(r"\1" if breaker else "", text) for path, text in texts.items()}
    if fifo:
        texts["src/app.py"] = texts["src/app.py"].replace(_STANDARD_CONCURRENCY, _FIFO_CONCURRENCY)
    if job:
        texts |= _job_template()
    texts |= _locks(powertools=powertools)
    texts = {path: _ONLY_IF.sub(lambda line: _line_of(line, options), text) for path, text in texts.items()}
    return {
        path.replace("dot_", "."): text.replace("my-project", name).replace("==0.0.0", f"=={version}")
        for path, text in sorted(texts.items())
    }


def create(
    name: str,
    parent: Path,
    *,
    version: str,
    job: bool = False,
    fifo: bool = False,
    powertools: bool = False,
    breaker: bool = False,
) -> Path:
    """Write a new project into a new folder, and return the folder. Existing files are never changed.

    Raises:
        ConfigurationError: If the name or the combination of options is not valid, or the folder exists or cannot be
            written.
    """
    folder = parent / check_project_name(name)
    files = project_files(name, version=version, job=job, fifo=fifo, powertools=powertools, breaker=breaker)
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


def _check_options(chosen: Sequence[str], *, job: bool) -> None:
    if job and chosen:
        option = f"--{chosen[0]}"
        raise ConfigurationError(
            f"{option} is an option of a consumer: leave out {option} or --job. For a job with FIFO queues, set the "
            "parameter QueueType=fifo of its template.yaml"
        )
    if "breaker" in chosen and len(chosen) > 1:
        raise ConfigurationError(
            f"--breaker cannot be combined with --{chosen[0]}: leave out one of them, and add it to the code"
        )


def _texts(kind: str) -> dict[str, str]:
    root = TEMPLATES / kind
    return {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8")
        for file in root.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def _line_of(line: re.Match[str], options: Mapping[str, bool]) -> str:
    """Return a line without its condition, or nothing if the condition is not met."""
    text, negated, option = line.groups()
    return f"{text}\n" if options[option] != bool(negated) else ""


def _locks(*, powertools: bool) -> Iterator[tuple[str, str]]:
    locks, suffix = _texts("locks"), "_powertools" if powertools else ""
    yield "src/requirements.txt", _LOCK.format(source="src/requirements.in") + locks[f"function{suffix}.txt"]
    yield "requirements-dev.txt", _LOCK.format(source="requirements-dev.in") + locks[f"development{suffix}.txt"]


def _job_template() -> Iterator[tuple[str, str]]:
    """Yield fanfold's template with the code in ``src`` and the project's name in tags, and its state machines."""
    folder = project_folder()
    template = (folder / "template.yaml").read_text(encoding="utf-8")
    yield (
        "template.yaml",
        template.replace("examples/flights/", "src/")
        .replace("Description: A fanfold job - ", "Description: my-project - ", 1)
        .replace("project: fanfold", "project: my-project")
        .replace("Key: project, Value: fanfold", "Key: project, Value: my-project"),
    )
    for file in (folder / "statemachine").iterdir():
        yield f"statemachine/{file.name}", file.read_text(encoding="utf-8")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")  # make and sh read some of them
