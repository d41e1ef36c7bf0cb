"""Find the function of a consumer again in a worker process.

A process imports the module of the handler, in which ``fanfold.consumer`` only registers functions: it starts nothing,
and loads no event loop. The handler is the n-th function with its module and qualified name, in the order in which
consumers of them are created, so decorators around it and factories do not matter.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from fanfold.errors import ConfigurationError


class HandlerName(NamedTuple):
    """Where a handler is found."""

    module: str
    """Name of the module that creates the consumer of the handler at its import."""
    qualname: str
    """Qualified name of the function."""
    number: int
    """Number of functions with this name before it, from 0."""


_REGISTERED: dict[tuple[str, str], list[Callable[..., Any]]] = {}
_SETTINGS: dict[int, dict[str, Any]] = {}
"""In a worker process, by the id of the function."""
_LOCK = threading.Lock()


def register(function: Callable[..., Any]) -> HandlerName:
    """Register a function, and return its name; the same function has the same name again."""
    module = str(getattr(function, "__module__", ""))
    qualname = str(getattr(function, "__qualname__", repr(function)))
    with _LOCK:
        functions = _REGISTERED.setdefault((module, qualname), [])
        if not any(known is function for known in functions):
            functions.append(function)
        return HandlerName(module, qualname, next(i for i, known in enumerate(functions) if known is function))


def registered(name: HandlerName) -> Callable[..., Any] | None:
    """Return a registered function; None if there is none with this name."""
    functions = _REGISTERED.get((name.module, name.qualname), [])
    return functions[name.number] if name.number < len(functions) else None


def name_in_module(function: Callable[..., Any]) -> HandlerName:
    """Return the name under which a worker process finds a function that is not a consumer's in its module.

    Raises:
        ConfigurationError: If it is defined in ``__main__``, or its module does not have it under its name.
    """
    name = HandlerName(str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", function)), 0)
    _check_not_main(name)
    if imported(name) is not function:
        raise ConfigurationError(
            f"{name.qualname} cannot run in worker processes: they cannot import it from {name.module or 'a module'}. "
            "Define it with def at the top of the module"
        )
    return name


def imported(name: HandlerName) -> Callable[..., Any] | None:
    """Return what an imported module has under a name; None for nothing."""
    value: Any = sys.modules.get(name.module)
    for part in name.qualname.split("."):
        value = getattr(value, part, None)
    return value  # type: ignore[no-any-return] # what the parent has found, too


def _check_not_main(name: HandlerName) -> None:
    if name.module in {"__main__", "None"}:
        raise ConfigurationError(
            f"{name.qualname} cannot run in worker processes: they cannot import __main__. Define it in a separate "
            "module"
        )


def check_findable(function: Callable[..., Any]) -> None:
    """Refuse a handler that a worker process could not find.

    Raises:
        ConfigurationError: If it is defined in ``__main__``, or locally and after the import of its module.
    """
    module = str(getattr(function, "__module__", None))
    qualname = str(getattr(function, "__qualname__", repr(function)))
    _check_not_main(HandlerName(module, qualname, 0))
    spec = getattr(sys.modules.get(module), "__spec__", None)
    if "<locals>" in qualname and not getattr(spec, "_initializing", False):
        raise ConfigurationError(
            f"{qualname} cannot run in worker processes: they cannot find a local function that is created after the "
            f"import of {module}. Define it at the top of the module"
        )


def settings_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings with which a worker process has registered a function."""
    return _SETTINGS.get(id(function), {})


class Registered:
    """The return value of ``fanfold.consumer`` in a worker process: the registered function, which nothing calls."""

    def __init__(self, function: Callable[..., Any], settings: dict[str, Any]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        """The handler function."""
        self.settings = settings
        """The settings as passed."""
        register(function)
        _SETTINGS.setdefault(id(function), settings)

    def __call__(self, *_arguments: object) -> object:
        """Refuse: a batch belongs to the consumer.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(f"{self.function.__qualname__} is a consumer; a worker process cannot run its batches")

    def with_settings(self, **settings: Any) -> Registered:
        """Return a consumer of the same function with other settings."""
        return Registered(self.function, {**self.settings, **settings})

    def add_observer(self, observer: object) -> None:
        """Do nothing: observers are in the consumer's process."""

    def close(self) -> None:
        """Do nothing."""


def consumer(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Register a handler, in place of ``fanfold.consumer``."""
    if function is not None:
        return Registered(function, settings)
    return lambda decorated: Registered(decorated, settings)
