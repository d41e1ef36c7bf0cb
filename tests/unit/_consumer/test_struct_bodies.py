"""A body that is annotated with a msgspec.Struct is decoded by msgspec."""

from __future__ import annotations

import datetime as dt
import enum
import json
import logging
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

import fanfold
from command import python
from fanfold import Done, Record, Rejected
from fanfold._consumer.decode import decoder
from fanfold.errors import ConfigurationError, DecodeError
from fanfold.testing import deliver, make_record

SECRET = "4111-1111"
T = TypeVar("T")


class Kind(enum.Enum):
    ORDER = "order"


class Order(msgspec.Struct):
    id: int
    note: str = ""


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    id: int


class Shipped(msgspec.Struct, tag="shipped"):
    carrier: str


class Paid(msgspec.Struct, tag="paid"):
    cents: Annotated[int, msgspec.Meta(ge=1)]


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


class Renamed(msgspec.Struct, rename="camel"):
    order_id: int


class Many(msgspec.Struct, kw_only=True):
    kind: Kind = Kind.ORDER
    color: Literal["red"] = "red"
    at: dt.datetime | None = None
    by_number: dict[int, int] = {}
    orders: dict[str, Order] = {}


class Positive(msgspec.Struct):
    number: float

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError(f"{SECRET} is negative")
        if self.number == 1:
            msgspec.json.decode(SECRET)
        if self.number == 2:
            raise msgspec.ValidationError(SECRET)
        if self.number == 3:
            raise RecursionError(SECRET)
        self.number = 1 / self.number


class Opaque: ...


class OfOpaque(msgspec.Struct):
    value: Opaque
    next: OfOpaque | None = None


class Unresolved(msgspec.Struct):
    invoice: "Invoice"  # noqa: F821, UP037 - a name imported under TYPE_CHECKING


class Model(pydantic.BaseModel):
    id: int


OrderOf = NewType("OrderOf", Order)
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | int | None")


def decoded(annotation: Any, body: str, *, chunked: bool = False) -> Any:
    return decoder(annotation, "handler", chunked=chunked)(Record(make_record(body)))


@pytest.mark.parametrize(
    ("annotation", "body", "expected"),
    [
        (Order, ' {"id": 7} ', Order(7)),
        (Order | None, "null", None),
        (list[Order], '[{"id": 1}]', [Order(1)]),
        (tuple[Order, int], '[{"id": 1}, 2]', (Order(1), 2)),
        (dict[str, Order], '{"a": {"id": 1}}', {"a": Order(1)}),
        (Shipped | Paid, '{"type": "paid", "cents": 5}', Paid(5)),
        (list[Shipped | Paid] | None, '[{"type": "shipped", "carrier": "x"}]', [Shipped("x")]),
        (Annotated[Order, msgspec.Meta(description="an order")], '{"id": 1}', Order(1)),
        (Page[Order], '{"items": [{"id": 1}]}', Page([Order(1)])),
        (OrderOf, '{"id": 1}', Order(1)),
        (Node, '{"value": 1, "children": [{"value": 2}]}', Node(1, [Node(2)])),
    ],
)
def test_a_struct_is_decoded_by_msgspec(annotation, body: str, expected):
    """Unions and containers of structs are supported, too."""
    assert decoded(annotation, body) == expected


def test_for_a_handler_of_lists_each_body_is_one_struct():
    """An invalid body fails only its record."""

    @fanfold.consumer(chunk_size=3)
    async def handler(orders: list[Order]) -> list[int]:
        return [order.id for order in orders]

    outcomes = deliver(handler, {"id": 1}, {}, {"id": 3}).outcomes
    assert outcomes[1] == Rejected("the body is not a valid Order: id: missing")
    assert [type(outcome) for outcome in outcomes] == [Done, Rejected, Done]


@pytest.mark.parametrize(
    ("annotation", "body", "problem"),
    [
        (Order, "{}", "Order: id: missing"),
        (Order, '{"id": "1"}', "Order: id: expected int, got str"),
        (Order, "[]", "Order: body: expected object, got array"),
        (Order, '{"id": 1e400}', "Order: id: number out of range"),
        (Strict, f'{{"id": 1, "{SECRET}": 1}}', "Strict: …: unknown field"),
        (Shipped | Paid, f'{{"type": "{SECRET}"}}', "type: invalid value"),
        (Shipped | Paid, "{}", "type: missing"),
        (Shipped | Paid, '{"type": "paid", "cents": 0}', "cents: expected int >= 1"),
        (list[Node], '[{"value": 1, "children": [{}]}]', "list: 0.children.0.value: missing"),
        (Renamed, "{}", "Renamed: orderId: missing"),
        (Many, f'{{"kind": "{SECRET}"}}', "Many: kind: invalid value"),
        (Many, f'{{"color": "{SECRET}"}}', "Many: color: invalid value"),
        (Many, f'{{"at": "{SECRET}"}}', "Many: at: invalid RFC3339 encoded datetime"),
        (Many, f'{{"by_number": {{"{SECRET}": 1}}}}', "Many: by_number.…: expected int, got str"),
        (Many, f'{{"orders": {{"{SECRET}": {{}}}}}}', "Many: orders.….id: missing"),
        (Positive, '{"number": -1}', "Positive: body: invalid value (ValueError)"),
        (list[Positive], '[{"number": -1}]', "list: 0: invalid value (ValueError)"),
        (Positive, '{"number": 1}', "Positive: body: invalid value (DecodeError)"),
        (Positive, '{"number": 2}', "Positive: body: invalid value (ValidationError)"),
    ],
)
def test_an_error_states_what_is_wrong_and_where_without_the_contents(annotation, body: str, problem: str):
    """The path contains only field names of the type, and no text contains a value or a key of the body."""
    with pytest.raises(DecodeError, match=r"^the body is not a valid [^\n]*$") as raised:
        decoded(annotation, body)
    assert str(raised.value).endswith(problem)
    assert "4111" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "Input data was truncated"),
        ('{"id": 01}', "invalid number (byte 8)"),
        (f'{{"id": 1}} {SECRET}', "trailing characters (byte 11)"),
        ('{"id": NaN}', "invalid character (byte 7)"),
        ('{"x":' * 100_000, "maximum recursion depth exceeded while deserializing an object"),
        ('{"id": 1, "note": "\ud800"}', "a character is not valid Unicode (position 19)"),
    ],
)
def test_a_body_that_is_not_json_cannot_be_decoded(body: str, problem: str):
    """The text is the same as for other annotations."""
    with pytest.raises(DecodeError) as raised:
        decoded(Order, body)
    assert str(raised.value) == f"the body is not JSON: {problem}"


@pytest.mark.parametrize(("number", "error"), [(0, ZeroDivisionError), (3, RecursionError)])
def test_any_other_error_of_the_type_is_not_an_invalid_body(number: int, error: type[Exception]):
    """A fault in the code of the type may be fixed, so the message is delivered again."""
    with pytest.raises(error):
        decoded(Positive, json.dumps({"number": number}))


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (OfOpaque, "msgspec does not support Opaque"),
        (list[OfOpaque] | None, "msgspec does not support Opaque"),
        (Order | Strict, "must be tagged"),
        (Order | Model, "custom type"),
        (dict[str, Model] | Order, "more than one dict-like type"),
        (Unresolved, "name 'Invoice' is not defined"),
    ],
)
def test_a_type_that_msgspec_does_not_support_is_refused(annotation, reason: str):
    """The error occurs at decoration, not at the first message."""
    with pytest.raises(ConfigurationError, match=rf"handler: a body cannot be of type .*: .*{reason}"):
        decoder(annotation, "handler", chunked=False)


def test_an_invalid_body_is_rejected_before_the_handler_runs(caplog: pytest.LogCaptureFixture):
    """Valid bodies are processed, and the log contains nothing of the invalid body."""
    caplog.set_level(logging.DEBUG)

    @fanfold.consumer
    async def handler(order: Order) -> int:
        return order.id

    assert deliver(handler, {"id": 1}, {"id": SECRET}).outcomes == [
        Done(1),
        Rejected("the body is not a valid Order: id: expected int, got str"),
    ]
    assert SECRET not in caplog.text


def test_pydantic_still_validates_what_is_not_a_struct():
    """Both kinds of annotations work in one program."""
    assert decoded(Model, '{"id": 1}') == Model(id=1)
    assert decoded(list[Model], '[{"id": 1}]') == [Model(id=1)]
    assert decoded(Json, '{"a": [1]}') == {"a": [1]}


OF_DICT = """
import sys, fanfold

@fanfold.consumer
async def handler(order: dict) -> None: ...

print(*{'msgspec', 'pydantic'} & set(sys.modules))
"""
OF_STRUCT = "import msgspec\nclass Order(msgspec.Struct): id: int" + OF_DICT.replace("order: dict", "order: Order")


@pytest.mark.parametrize(("program", "loaded"), [(OF_DICT, ""), (OF_STRUCT, "msgspec")])
def test_neither_library_is_imported_unless_the_annotation_needs_it(program: str, loaded: str):
    """A struct does not load pydantic, and a dict loads neither."""
    done = python(program)
    assert done.stdout.strip() == loaded, done.stderr
