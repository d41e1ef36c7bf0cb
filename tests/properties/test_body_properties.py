"""msgspec and pydantic decode the same bodies, to the same values."""

import json
from typing import Annotated, Any, Literal

import msgspec
import pydantic
from hypothesis import given
from hypothesis import strategies as st

from fanfold import Record
from fanfold._consumer.decode import decoder
from fanfold.errors import DecodeError
from fanfold.testing import make_record


class Line(msgspec.Struct):
    sku: str
    count: Annotated[int, msgspec.Meta(ge=1)]


class Order(msgspec.Struct):
    id: int
    lines: list[Line]
    color: Literal["red", "blue"] = "red"
    gift: bool = False
    weight: float | None = None
    labels: dict[str, int] = {}
    first: Line | None = None


class LineModel(pydantic.BaseModel, strict=True):
    sku: str
    count: Annotated[int, pydantic.Field(ge=1)]


class OrderModel(pydantic.BaseModel, strict=True):
    id: int
    lines: list[LineModel]
    color: Literal["red", "blue"] = "red"
    gift: bool = False
    weight: float | None = None
    labels: dict[str, int] = {}
    first: LineModel | None = None


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
KEYS = st.text("xyz", max_size=3)  # none is a name of a field, so an error shows none of them
LINES = st.fixed_dictionaries({"sku": TEXT, "count": st.integers(1, 2**62)})
ORDERS = st.fixed_dictionaries(
    {"id": st.integers(-(2**62), 2**62), "lines": st.lists(LINES, max_size=3)},
    optional={
        "color": st.sampled_from(["red", "blue"]),
        "gift": st.booleans(),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**50), 2**50),
        "labels": st.dictionaries(KEYS, st.integers(-(2**62), 2**62), max_size=3),
        "first": st.none() | LINES,
        "unknown": st.integers(),
    },
)
# An integer written as 1.0 is one for msgspec, and none for a strict model: neither library is wrong, so none is tried.
OTHERS = st.none() | st.booleans() | st.integers(-5, 5) | TEXT | st.sampled_from([1.5, [], {}, [{}]])


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """Return a valid order in which, perhaps, one value at any depth is replaced or left out."""
    order = draw(ORDERS)
    owner, key = None, None
    value: Any = order
    while value and isinstance(value, (dict, list)) and (owner is None or draw(st.booleans())):
        owner, key = value, draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        value = owner[key]
    if draw(st.booleans()):
        owner[key] = draw(OTHERS)
    elif draw(st.booleans()):
        del owner[key]
    return order


def decoded(annotation: Any, body: str) -> tuple[Any, str | None]:
    """Return the value of a body as JSON, or its error."""
    try:
        value = decoder(annotation, "handler", chunked=False)(Record(make_record(body)))
    except DecodeError as error:
        return None, str(error)
    return (msgspec.to_builtins(value) if annotation is Order else value.model_dump()), None


def places(error: str) -> set[str]:
    """Return the fields that an error names."""
    return {problem.partition(": ")[0] for problem in error.partition(": ")[2].split("; ")}


@given(changed())
def test_both_accept_the_same_bodies_and_name_the_same_field_of_the_others(order):
    """A strict model and a struct with the same fields are alternatives."""
    body = json.dumps(order)
    ours, error = decoded(Order, body)
    theirs, other_error = decoded(OrderModel, body)
    assert ours == theirs
    assert (error is None) == (other_error is None)
    if error is not None:
        assert places(error) <= places(other_error)


@given(order=ORDERS, cut=st.integers(min_value=0), noise=st.sampled_from(["", " ", "\n", "]", "}", "0", ",", "\x00"]))
def test_both_refuse_the_same_texts(order, cut, noise):
    """A text that is cut off, or continues after the end, is JSON for both or for neither."""
    text = json.dumps(order)
    body = text[: cut % (len(text) + 1)] + noise
    ours, error = decoded(Order, body)
    theirs, other_error = decoded(OrderModel, body)
    assert ours == theirs
    assert (error is None) == (other_error is None)


@given(st.recursive(OTHERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)))
def test_any_json_is_decoded_or_refused_in_one_line(value):
    """No body raises another error, and no error spans lines or contains a text of the body."""
    secret = f"secret-{json.dumps(value)}"
    for body in (json.dumps(value), json.dumps({"id": secret}), json.dumps({secret: 1, "id": 1, "lines": [secret]})):
        _, error = decoded(Order, body)
        if error is not None:
            assert "\n" not in error
            assert "secret" not in error
