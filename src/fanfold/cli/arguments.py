"""What a user writes as the value of an option: pairs, segments, a setting, where to write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from fanfold.bench.cells import Setting
from fanfold.errors import ConfigurationError, MissingExtraError

_MOST_SEGMENTS = 1_000_000


def parameters_of(texts: Sequence[str]) -> dict[str, str]:
    """Return the parameters of a template that ``--parameter NAME=VALUE`` gives; the last one of a name counts.

    Raises:
        ConfigurationError: If one is not of that form.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--parameter {text!r} is not of the form NAME=VALUE, such as BatchSize=10")
        found[name] = value
    return found


def segments_of(text: str) -> set[int]:
    """Return the segments that a list such as ``3,17,20-25`` names.

    Raises:
        ConfigurationError: If it is none, or names more than a million.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ConfigurationError(f"--only {text!r} is no list of segments such as 3,17,20-25")
        named = range(int(first), int(last if dash else first) + 1)
        if named[-1] - named[0] >= _MOST_SEGMENTS:
            raise ConfigurationError(f"--only {text!r} names more than {_MOST_SEGMENTS:,} segments")
        found.update(named)
    return found


def setting_of(text: str, option: str) -> Setting:
    """Return the setting that ``CONCURRENCY:MEMORY`` names.

    Raises:
        ConfigurationError: If it is not of that form.
    """
    words = text.split(":")
    if len(words) != 2 or not all(word.isdecimal() for word in words):  # noqa: PLR2004 - a pair
        raise ConfigurationError(f"{option} is CONCURRENCY:MEMORY, such as 10:512, not {text!r}")
    return Setting(int(words[0]), int(words[1]))


def check_writable(file: Path) -> None:
    """Tell, before any work is done, that a file could not be written.

    Raises:
        ConfigurationError: If it is a folder, or the folder it belongs in does not exist.
    """
    if file.is_dir():
        raise ConfigurationError(f"{file} cannot be written: it is a folder")
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(f"{file} cannot be written: there is no folder {file.parent}")


def check_installed(module: str, extra: str, use: str) -> None:
    """Tell, before any work is done, that a module is missing that is needed at its end.

    Raises:
        MissingExtraError: If it is not installed.
    """
    if find_spec(module) is None:
        raise MissingExtraError(extra, use)


def check_page(file: Path | None) -> None:
    """Tell, before any work is done, that a page could not be written, if one is asked for.

    Raises:
        ConfigurationError: As ``check_writable`` does.
        MissingExtraError: If what renders it is not installed.
    """
    if file is not None:
        check_writable(file)
        check_installed("jinja2", "cli", "an HTML page")


@contextmanager
def writing(file: Path, option: str = "") -> Iterator[None]:
    """Say which file, named by which option, could not be written in the block.

    Raises:
        ConfigurationError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{option}{file} cannot be written: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Make the folder that ``--output`` names, if it is not there.

    Raises:
        ConfigurationError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--output {folder} cannot be made: {error.strerror}") from error
