"""From ``MODULE:NAME`` to what it names."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fanfold.errors import ConfigurationError

T = TypeVar("T")


def load(name: str, kind: type[T]) -> T:
    """Return what ``MODULE:NAME`` names; modules in the current folder are found.

    Raises:
        ConfigurationError: If it is not of that form, the module cannot be imported, or what it names is not there or
            of another kind. What the import raised is its cause.
    """
    found, module = _found(name, kind.__name__.lower())
    if isinstance(found, kind):
        return found
    if found is not None:
        raise ConfigurationError(f"{name} is a {type(found).__name__}, not a fanfold.{kind.__name__}")
    there = sorted(each for each, value in vars(module).items() if isinstance(value, kind))
    raise ConfigurationError(f"{_missing(name)}; it has {', '.join(there) or f'no {kind.__name__}'}")


def load_handler(name: str) -> Callable[..., Any]:
    """Return the Lambda handler that ``MODULE:NAME`` names; modules in the current folder are found.

    Raises:
        ConfigurationError: As ``load`` does.
    """
    found, _ = _found(name, "handler")
    if found is None:
        raise ConfigurationError(_missing(name))
    if not callable(found):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, which is no Lambda handler")
    handler: Callable[..., Any] = found
    return handler


def _found(name: str, example: str) -> tuple[Any, Any]:
    """Return what is named, None if it is not there, and its module."""
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(f"{name!r} is not of the form MODULE:NAME, such as app:{example}")
    module = _module(module_name)
    return getattr(module, attribute, None), module


def _missing(name: str) -> str:
    module, _, attribute = name.partition(":")
    return f"module {module} has no {attribute!r}"


def _module(name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may also call sys.exit
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"there is no module {name!r} here: run the command from the folder that holds it"
            ) from None
        raise ConfigurationError(f"importing {name} failed: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    words = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return words  # a fault in the syntax says itself where it is
    return f"{words} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
