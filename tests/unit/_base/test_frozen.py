"""Immutable values: compared by their fields, and copied with them."""

import copy
import pickle

import pytest

import fanfold
from fanfold._base.frozen import Options, Value, put


class Point(Value):
    __slots__ = ("x",)
    x: int

    def __init__(self, x: int) -> None:
        put(self, "x", x)


class Named(Point):
    __slots__ = ("name",)
    name: str

    def __init__(self, x: int, name: str) -> None:
        super().__init__(x)
        put(self, "name", name)


def test_values_are_equal_by_class_and_fields():
    """Two values with the same class and equal fields are equal, and have equal hashes."""
    assert Named(1, "a") == Named(1, "a")
    assert hash(Named(1, "a")) == hash(Named(1, "a"))
    assert Named(1, "a") != Named(1, "b")
    assert fanfold.Done() != fanfold.NotStarted("a")
    assert fanfold.Done(None) != (None,)


@pytest.mark.parametrize(
    "value", [fanfold.Done(1), fanfold.Rejected("no", forwarded=True), fanfold.Backoff(), Named(1, "a")]
)
def test_a_value_cannot_be_changed(value):
    """Setting or deleting a field raises an error, and the field keeps its value."""
    name = value.__match_args__[0]
    before = getattr(value, name)
    with pytest.raises(AttributeError, match=f"'{name}' cannot be set"):
        setattr(value, name, 2)
    with pytest.raises(AttributeError, match=f"'{name}' cannot be deleted"):
        delattr(value, name)
    with pytest.raises(AttributeError):
        value.another = 1
    assert getattr(value, name) == before


@pytest.mark.parametrize("value", [fanfold.Done([1]), fanfold.Retrying(3.0, "busy"), fanfold.Backoff(base=2)])
def test_a_value_survives_copying_and_pickling(value):
    """A deep copy, a shallow copy, and an unpickled value equal the original."""
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value  # noqa: S301


def test_a_value_shows_its_fields_and_can_be_matched_by_them():
    """The repr of a value looks like its constructor call, and a class pattern matches its fields in that order."""
    assert repr(Named(1, "a")) == "Named(x=1, name='a')"
    match fanfold.Rejected("bad", forwarded=True):
        case fanfold.Rejected(reason, forwarded):
            assert (reason, forwarded) == ("bad", True)


class Choice(Options):
    size: int = 1
    color: str = "red"

    def _check(self) -> None:
        if self.size < 0:
            raise ValueError(f"negative, with {self.color}")


def test_options_have_defaults_and_are_values():
    """Options are given by position or by name, and the others have their defaults."""
    assert Choice() == Choice(1, "red") == Choice(color="red")
    assert Choice(2) == Choice(size=2) != Choice()
    assert repr(Choice(color="blue")) == "Choice(size=1, color='blue')"
    assert copy.copy(Choice(2)) == pickle.loads(pickle.dumps(Choice(2))) == Choice(2)  # noqa: S301
    with pytest.raises(AttributeError, match="'size' cannot be set"):
        Choice().size = 2


def test_options_are_checked_when_all_are_set():
    """An unknown name, too many values, and whatever the class refuses are errors."""
    with pytest.raises(TypeError, match="Choice has no hue, sizes"):
        Choice(sizes=1, hue="red")
    with pytest.raises(ValueError, match="argument 2 is longer"):
        Choice(1, "red", 2)
    with pytest.raises(ValueError, match="negative, with blue"):
        Choice(-1, color="blue")
