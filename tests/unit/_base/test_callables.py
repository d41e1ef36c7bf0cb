"""Layers of decorators and partials."""

import functools
from typing import Any

import pytest

from fanfold._base.callables import find_layer
from fanfold._base.import_string import load_decorated
from fanfold.errors import ConfigurationError


class Target:
    """The class whose object is searched."""

    def __call__(self, *_: Any) -> None: ...


class Endless:
    """An object that wraps itself."""

    @property
    def __wrapped__(self) -> Any:
        return self


def decorated(target: Any) -> Any:
    @functools.wraps(target)
    def handler(*args: Any) -> Any:
        return target(*args)

    return handler


TARGET = Target()
wrapped = decorated(TARGET)


def test_the_outermost_object_of_a_class_is_found_under_decorators_and_partials():
    """Whether a layer is a function with ``__wrapped__`` or a partial, with or without ``__wrapped__``."""
    for layers in (
        TARGET,
        decorated(TARGET),
        functools.partial(TARGET, 1),
        decorated(functools.partial(decorated(TARGET))),
        functools.wraps(TARGET)(functools.partial(print)),
    ):
        assert find_layer(layers, Target) is TARGET


@pytest.mark.parametrize("function", [None, print, decorated(print), functools.partial(print), Endless()])
def test_without_such_an_object_nothing_is_found(function: Any):
    """Also if the layers never end."""
    assert find_layer(function, Target) is None


def test_a_decorated_object_is_imported_with_the_object_inside():
    """An object without one is refused as one of another class is."""
    assert load_decorated(f"{__name__}:wrapped", Target) == (wrapped, TARGET)
    assert load_decorated(f"{__name__}:TARGET", Target) == (TARGET, TARGET)
    with pytest.raises(ConfigurationError, match=r"decorated is a function, not a fanfold\.Target"):
        load_decorated(f"{__name__}:decorated", Target)
    with pytest.raises(ConfigurationError, match="has no 'nothing'; it has TARGET"):
        load_decorated(f"{__name__}:nothing", Target)
