"""Frozen values: equal by their fields, not to be changed, copied whole."""

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
    """Two values are equal when they are of one class and their fields are equal, and then their hashes are too."""
    assert Named(1, "a") == Named(1, "a")
    assert hash(Named(1, "a")) == hash(Named(1, "a"))
    assert Named(1, "a") != Named(1, "b")
    assert fanfold.Done() != fanfold.NotStarted("a")
    assert fanfold.Done(None) != (None,)


@pytest.mark.parametrize(
    "value", [fanfold.Done(1), fanfold.Rejected("no", forwarded=True), fanfold.Backoff(), Named(1, "a")]
)
def test_a_value_cannot_be_changed(value):
    """Setting or deleting a field of a value raises, and the field keeps what it held."""
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
    """A copy, deep or shallow, and a pickled value are equal to the value."""
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value  # noqa: S301


def test_a_value_shows_its_fields_and_can_be_matched_by_them():
    """The text of a value reads like the call that makes it, and a pattern takes its fields in that order."""
    assert repr(Named(1, "a")) == "Named(x=1, name='a')"
    match fanfold.Rejected("bad", forwarded=True):
        case fanfold.Rejected(reason, forwarded):
            assert (reason, forwarded) == ("bad", True)
