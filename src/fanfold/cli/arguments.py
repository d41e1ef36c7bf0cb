"""Values of options: pairs, lists of segments, settings, files to write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from fanfold.bench.cells import Setting
from fanfold.errors import ConfigurationError, MissingExtraError

_MAX_SEGMENTS = 1_000_000


def parameters_of(texts: Sequence[str]) -> dict[str, str]:
    """Return the template parameters of ``--parameter NAME=VALUE`` options. The last value of a name wins.

    Raises:
        ConfigurationError: If one is not of that form.
    """
    parameters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--parameter {text!r} is not of the form NAME=VALUE, such as BatchSize=10")
        parameters[name] = value
    return parameters


def segments_of(text: str, option: str = "--only") -> set[int]:
    """Return the segments in a list such as ``3,17,20-25``, the value of an option.

    Raises:
        ConfigurationError: If it is not such a list, or a range in it has more than a million segments.
    """
    segments: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ConfigurationError(f"{option} {text!r} is not a list of segments such as 3,17,20-25")
        numbers = range(int(first), int(last if dash else first) + 1)
        if numbers[-1] - numbers[0] >= _MAX_SEGMENTS:
            raise ConfigurationError(f"{option} {text!r} names more than {_MAX_SEGMENTS:,} segments")
        segments.update(numbers)
    return segments


def setting_of(text: str, option: str) -> Setting:
    """Return the setting written as ``CONCURRENCY:MEMORY``.

    Raises:
        ConfigurationError: If it is not of that form.
    """
    numbers = text.split(":")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):  # noqa: PLR2004 - a pair
        raise ConfigurationError(f"{option} {text!r} is not of the form CONCURRENCY:MEMORY, such as 10:512")
    return Setting(int(numbers[0]), int(numbers[1]))


def check_writable(file: Path) -> None:
    """Check that a file can be written, before any work is done.

    Raises:
        ConfigurationError: If it is a folder, or its folder does not exist.
    """
    if file.is_dir():
        raise ConfigurationError(f"{file} cannot be written: it is a folder; add a file name")
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(f"{file} cannot be written: folder {file.parent} does not exist; create it first")


def check_installed(module: str, extra: str, use: str) -> None:
    """Check that a module is installed, before any work is done.

    Raises:
        MissingExtraError: If it is not installed.
    """
    if find_spec(module) is None:
        raise MissingExtraError(extra, use)


def check_page(file: Path | None) -> None:
    """Check that an HTML page can be rendered and written, before any work is done. None: no page.

    Raises:
        ConfigurationError: As ``check_writable`` does.
        MissingExtraError: If jinja2 is not installed.
    """
    if file is not None:
        check_writable(file)
        check_installed("jinja2", "cli", "an HTML page")


@contextmanager
def writing(file: Path, option: str = "") -> Iterator[None]:
    """Turn an OSError in the block into an error that names the file and the option.

    Raises:
        ConfigurationError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{option}{file} cannot be written: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Create the folder that ``--output`` names, if it does not exist.

    Raises:
        ConfigurationError: If it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--output {folder} cannot be created: {error.strerror}") from error
