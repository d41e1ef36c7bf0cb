"""Import an object by its name, ``MODULE:NAME``, or ``module.name`` as in Lambda's Handler setting."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fanfold._base.callables import find_layer
from fanfold.errors import ConfigurationError

T = TypeVar("T")
_PACKAGE = str(Path(__file__).parents[1])


def load(name: str, kind: type[T]) -> T:
    """Return the object that ``MODULE:NAME`` refers to. The current folder is on the import path.

    Raises:
        ConfigurationError: If the name is malformed, the module cannot be imported (the import error is the cause), or
            the object does not exist or is of another kind.
    """
    value, module = _import(name, kind.__name__.lower())
    if isinstance(value, kind):
        return value
    raise _not_found(name, value, module, kind)


def load_decorated(name: str, kind: type[T]) -> tuple[Callable[..., Any], T]:
    """Return the object that ``MODULE:NAME`` refers to, and the object of a class that it is or that it wraps.

    Raises:
        ConfigurationError: As for ``load``, if no layer of decorators is of that class.
    """
    value, module = _import(name, kind.__name__.lower())
    if (layer := find_layer(value, kind)) is not None:
        return value, layer
    raise _not_found(name, value, module, kind)


def _not_found(name: str, value: Any, module: Any, kind: type) -> ConfigurationError:
    if value is not None:
        return ConfigurationError(f"{name} is {_with_article(type(value).__name__)}, not a fanfold.{kind.__name__}")
    candidates = sorted(candidate for candidate, other in vars(module).items() if isinstance(other, kind))
    return ConfigurationError(f"{_missing(name)}; it has {', '.join(candidates) or f'no {kind.__name__}'}")


def load_handler(name: str) -> Callable[..., Any]:
    """Return the Lambda handler that ``MODULE:NAME`` refers to. The current folder is on the import path.

    Raises:
        ConfigurationError: As for ``load``.
    """
    value, _ = _import(name, "handler")
    if value is None:
        raise ConfigurationError(_missing(name))
    if not callable(value):
        raise ConfigurationError(f"{name} is {_with_article(type(value).__name__)}, not a Lambda handler")
    handler: Callable[..., Any] = value
    return handler


def _import(name: str, example: str) -> tuple[Any, Any]:
    """Return the object, None if it does not exist, and its module."""
    module_name, attribute = split_name(name)
    if not (module_name and attribute):
        raise ConfigurationError(f"{name!r} must have the form MODULE:NAME, such as app:{example}")
    module = _module(module_name)
    return getattr(module, attribute, None), module


def split_name(name: str) -> tuple[str, str]:
    """Return the module and the attribute of a name. One of them is empty if the name is malformed."""
    separator = ":" if ":" in name or name.endswith(".py") else "."
    module, _, attribute = name.rpartition(separator)
    return module, attribute


def _missing(name: str) -> str:
    module, attribute = split_name(name)
    return f"module {module} has no {attribute!r}"


def _with_article(kind: str) -> str:
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


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
            raise ConfigurationError(f"module {name!r} was not found: {_fix(name)}") from None
        raise ConfigurationError(f"importing {name} failed: {last_line(error)}") from error


def _fix(name: str) -> str:
    file = Path(name)
    if len(file.parts) == 1 and file.suffix != ".py":
        top = name.partition(".")[0]
        folders = sorted(file.parent.name for file in Path().glob(f"[!.]*/{top}.py"))
        if folders:
            return f"set PYTHONPATH={folders[0]}, or run the command in the folder {folders[0]}"
        return "run the command in the folder that contains it"
    return f"name a module, not a file, such as {file.stem}:NAME in the folder {file.parent}"


def last_line(error: BaseException) -> str:
    """Return the type and the message of an error, and the file and the line that raised it.

    For a ConfigurationError of fanfold, it is the line of the user's code that led to it.
    """
    import traceback  # not in a process without an error

    try:
        message = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - a user's error whose __str__ raises
        message = type(error).__name__
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, ConfigurationError):
        frames = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<frozen"))] or frames
    if isinstance(error, SyntaxError) or not frames:
        return message  # the message of a SyntaxError includes the file and the line
    return f"{message} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
