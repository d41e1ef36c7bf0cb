"""Frozen values for the path of a cold start.

A dataclass writes its methods as text and compiles them when its module is imported: about 0.3 ms each, which every
new execution environment pays. These methods are written once, for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

put: Callable[[object, str, Any], None] = object.__setattr__
"""Sets an attribute of a value in its ``__init__``, the only place where that is right."""


@dataclass_transform(frozen_default=True)
class Value:
    """A value with the fields that ``__slots__`` names: equal to another of its class by them, and not to be changed.

    A subclass lists its fields in ``__slots__`` and sets them in ``__init__``, which takes them in the same order,
    those it inherits first.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._names = (*cls._names, *cls.__slots__)
        setattr(cls, "__match_args__", cls._names)  # noqa: B010 - type checkers make it from the fields

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is not to be changed: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is not to be changed: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self._fields() == other._fields() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._fields()

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names)
