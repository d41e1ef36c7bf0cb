"""From ``MODULE:NAME`` to what it names."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any, TypeVar

from fanfold.errors import ConfigurationError

__all__ = ["load"]

T = TypeVar("T")


def load(name: str, kind: type[T]) -> T:
    """Return what ``MODULE:NAME`` names; modules in the current folder are found.

    Raises:
        ConfigurationError: If it is not of that form, the module cannot be imported, or what it names is not there or
            of another kind.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigurationError(f"{name!r} is not of the form MODULE:NAME, such as app:{kind.__name__.lower()}")
    found = _attribute(_module(module_name), module_name, attribute, kind)
    if not isinstance(found, kind):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, not a fanfold.{kind.__name__}")
    return found


def _module(name: str) -> Any:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {name!r} here: run the command from the folder that holds it"
            ) from error
        raise ConfigurationError(f"importing {name} failed: {_last_line(error)}") from error
    except Exception as error:
        raise ConfigurationError(f"importing {name} failed: {_last_line(error)}") from error


def _attribute(module: Any, module_name: str, attribute: str, kind: type) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        there = sorted(name for name, value in vars(module).items() if isinstance(value, kind))
        hint = f"; it has {', '.join(there)}" if there else f"; it has no {kind.__name__}"
        raise ConfigurationError(f"module {module_name} has no {attribute!r}{hint}") from error


def _last_line(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
