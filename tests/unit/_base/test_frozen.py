"""Immutable values: compared by their fields, and copied with them."""

import copy
import pickle

import pytest

import fanfold
from fanfold._base.frozen import Value, put


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
