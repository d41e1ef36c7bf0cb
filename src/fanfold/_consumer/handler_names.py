"""Name a handler so that a worker process finds the same one.

A worker process imports the module whose import has created the consumer of the handler. There, the handler is the n-th
function with its qualified name, in the order in which consumers are created. So it does not matter which module
defines the function, nor do decorators around it, or factories. A handler whose consumer is created later, as in a
test, is found by its name if its module has it under this name.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from fanfold.errors import ConfigurationError


class HandlerName(NamedTuple):
    """The name of a handler for a worker process."""

    module: str
    """Name of the module to import."""
    qualname: str
    """Qualified name of the function."""
    number: int | None
    """Number of functions with this name for which the module has created consumers before, from 0; None for what the
    module has under this name."""


_NOTED: dict[tuple[str, str], tuple[object, list[Callable[..., Any]]]] = {}
"""By module and qualified name: the import of the module, and the functions of consumers that it has created."""
_LOCK = threading.Lock()


def note(function: Callable[..., Any]) -> None:
    """Note the function of a consumer if it is created by the import of a module."""
    spec = _spec_of_import()
    if spec is None:
        return
    key = (spec.name, _qualname(function))
    with _LOCK:
        if key not in _NOTED or _NOTED[key][0] is not spec:  # it is imported again
            _NOTED[key] = (spec, [])
        functions = _NOTED[key][1]
        if not any(known is function for known in functions):
            functions.append(function)


def name_of_consumer(function: Callable[..., Any]) -> HandlerName:
    """Return the name of a consumer's handler.

    Raises:
        ConfigurationError: If a worker process could not find it: it is of ``__main__``, or its consumer is not created
            by an import and its module does not have it under its name.
    """
    with _LOCK:
        for (module, qualname), (_, functions) in _NOTED.items():
            for number, known in enumerate(functions):
                if known is function:
                    return HandlerName(module, qualname, number)
    return name_in_module(function)


def name_in_module(function: Callable[..., Any]) -> HandlerName:
    """Return the name of a handler that its module has under its name, also as a consumer.

    Raises:
        ConfigurationError: As ``name_of_consumer``.
    """
    name = HandlerName(str(getattr(function, "__module__", None) or "any module"), _qualname(function), None)
    shown = getattr(function, "__qualname__", repr(function))
    if name.module == "__main__":
        raise ConfigurationError(
            f"{shown} cannot run in worker processes: they cannot import __main__. Define it in a separate module"
        )
    if "<locals>" in name.qualname:
        raise ConfigurationError(
            f"{shown} cannot run in worker processes: they cannot find a local function that is created after the "
            f"import of {name.module}. Define it at the top of the module"
        )
    if inspect.ismethod(function) or in_module(name) is not function:
        raise ConfigurationError(
            f"{shown} cannot run in worker processes: they cannot find it by its name in {name.module}. Define it with "
            "def at the top of the module"
        )
    return name


def find_handler(name: HandlerName) -> Callable[..., Any] | None:
    """Return the handler with a name; None if the imported module does not have it."""
    if name.number is None:
        return in_module(name)
    _, functions = _NOTED.get((name.module, name.qualname), (None, []))
    return functions[name.number] if name.number < len(functions) else None


def in_module(name: HandlerName) -> Callable[..., Any] | None:
    """Return the function that an imported module has under a name, without its consumer; None for nothing."""
    value: Any = sys.modules.get(name.module)
    for part in name.qualname.split("."):
        value = getattr(value, part, None)
    layer = value
    while layer is not None:
        if hasattr(type(layer), "with_settings"):  # a consumer, or what stands for one in a worker process
            return layer.function  # type: ignore[no-any-return] # of a consumer
        layer = getattr(layer, "__wrapped__", None)
    return value  # type: ignore[no-any-return] # the caller compares it


def _qualname(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _spec_of_import() -> Any:
    """Return the specification of the module whose import runs this, the innermost one; None outside of imports."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - inspect would read source files
    while frame is not None:
        names = frame.f_globals
        if frame.f_code.co_name == "<module>" and names.get("__name__") != "__main__" and names.get("__spec__"):
            return names["__spec__"]
        frame = frame.f_back
    return None
