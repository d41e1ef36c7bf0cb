"""Immutable values that keep cold starts short.

A dataclass generates its methods as source code and compiles them when its module is imported, which costs each new
execution environment about 0.3 ms per class. The class ``Value`` defines these methods once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

put: Callable[[object, str, Any], None] = object.__setattr__
"""Sets an attribute of a value; call it only in ``__init__``."""


@dataclass_transform(frozen_default=True)
class Value:
    """An immutable value. Two values of one class are equal if their fields are equal.

    A subclass lists its fields in ``__slots__`` and sets them in ``__init__``, which takes them in the same order,
    inherited fields first.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._names = (*cls._names, *cls.__slots__)
        setattr(cls, "__match_args__", cls._names)  # noqa: B010 - type checkers derive it from the fields

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name!r} cannot be deleted")

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


@dataclass_transform(frozen_default=True)
class Options(Value):
    """An immutable value whose fields have defaults, which a subclass declares as annotated attributes.

    ``_check`` is called with all fields set.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._names = tuple(vars(cls)["__annotations__"])

    def __init__(self, *values: Any, **options: Any) -> None:
        options |= zip(self._names[: len(values)], values, strict=True)
        if unknown := options.keys() - set(self._names):
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in options.items():
            put(self, name, value)
        self._check()

    def _check(self) -> None: ...
