"""Bodies are decoded by the annotation of the handler's parameter."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from typing_extensions import TypedDict

import fanfold
from fanfold import Done, Record, Rejected
from fanfold._consumer.decode import decoder
from fanfold.errors import ConfigurationError, DecodeError
from fanfold.idempotency import Idempotency
from fanfold.testing import deliver, make_record

SECRET = "4111-1111"


class Order(pydantic.BaseModel):
    id: int
    note: str = ""


class Strict(pydantic.BaseModel, extra="forbid"):
    id: int


class Shipped(pydantic.BaseModel):
    type: Literal["shipped"]
    carrier: str


class Paid(pydantic.BaseModel):
    type: Literal["paid"]
    cents: int


Event = Annotated[Shipped | Paid, pydantic.Field(discriminator="type")]


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


class Opaque: ...


class Picky(pydantic.BaseModel):
    number: float

    @pydantic.field_validator("number")
    @classmethod
    def invert(cls, value: float) -> float:
        return 1 / value


def decoded(annotation: Any, body: str, *, chunked: bool = False) -> Any:
    return decoder(annotation, "handler", chunked=chunked)(Record(make_record(body)))


@pytest.mark.parametrize("annotation", [dict, list, Any, object, dict[str, Any], list[int], "dict", "list[int]", "Any"])
@pytest.mark.parametrize("value", [{"a": [1, None, True]}, [1.5, "ü"], "text", 0, None])
def test_a_builtin_annotation_means_json(annotation, value):
    """Any JSON is accepted, because it is not validated."""
    assert decoded(annotation, json.dumps(value)) == value


def test_str_is_the_body_as_is():
    """The body is not parsed."""
    assert decoded(str, '"{\n') == '"{\n'
    assert decoded("str", "") == ""


def test_a_record_is_passed_unchanged():
    """It contains everything that was sent with the body."""
    record = Record(make_record("{"))
    assert decoder(Record, "handler", chunked=False)(record) is record
    assert decoder("Record", "handler", chunked=False)(record) is record


def test_a_powertools_record_is_created_from_the_record():
    """It has the same contents as in Powertools' processors."""
    created = decoder(SQSRecord, "handler", chunked=False)(
        Record(make_record({"id": 1}, message_id="m", receive_count=3))
    )
    assert isinstance(created, SQSRecord)
    assert (created.message_id, created.json_body, created.attributes.approximate_receive_count) == (
        "m",
        {"id": 1},
        "3",
    )


def test_a_powertools_record_cannot_change_the_event():
    """It contains a copy."""
    raw = make_record("text")
    decoder(SQSRecord, "handler", chunked=False)(Record(raw)).raw_event["body"] = "other"
    assert raw["body"] == "text"


@pytest.mark.parametrize(
    ("annotation", "body", "expected"),
    [
        (Order, '{"id": 7}', Order(id=7)),
        (Event, '{"type": "paid", "cents": 5}', Paid(type="paid", cents=5)),
        (Event, '{"type": "shipped", "carrier": "x"}', Shipped(type="shipped", carrier="x")),
        (Order | None, "null", None),
        (Point, '{"x": 1}', Point(1)),
        (Named, '{"name": "n"}', {"name": "n"}),
        (int, "5", 5),
        (list[Order], '[{"id": 1}]', [Order(id=1)]),
        (tuple[int, int], "[1, 2]", (1, 2)),
    ],
)
def test_any_other_type_is_validated(annotation, body: str, expected):
    """Models, discriminated unions, dataclasses, and typed dictionaries are supported."""
    assert decoded(annotation, body) == expected


@pytest.mark.parametrize(
    ("annotation", "body", "expected"),
    [
        (list, "[1]", [1]),
        (Any, "5", 5),
        (list[str], "{", "{"),
        (list[dict], '{"a": 1}', {"a": 1}),
        (list[Order], '{"id": 1}', Order(id=1)),
        (list[Event], '{"type": "paid", "cents": 5}', Paid(type="paid", cents=5)),
        (list[list[int]], "[1, 2]", [1, 2]),
    ],
)
def test_for_a_handler_of_lists_the_item_type_is_decoded(annotation, body: str, expected):
    """The body of each record is one item."""
    assert decoded(annotation, body, chunked=True) == expected


def test_a_handler_of_lists_can_take_records():
    """As fanfold's ``Record``, or as Powertools' ``SQSRecord``."""
    assert isinstance(decoded(list[Record], "{", chunked=True), Record)
    assert decoded(list[SQSRecord], "text", chunked=True).body == "text"


@pytest.mark.parametrize("annotation", [dict, str, Order, tuple[int, ...]])
def test_with_chunk_size_an_annotation_other_than_a_list_is_refused(annotation):
    """The error at decoration states how to annotate the body."""
    with pytest.raises(ConfigurationError, match=r"handler: with chunk_size, annotate the body as list\["):
        decoder(annotation, "handler", chunked=True)


def test_the_metadata_of_a_type_need_not_be_hashable():
    """``Annotated`` metadata can be any object; only pydantic interprets it."""
    with pytest.raises(DecodeError, match="the body is not a valid "):
        decoded(list[Annotated[int, []]], '["x"]')


@pytest.mark.parametrize("annotation", [Opaque, Point | Opaque, dict[str, Opaque]])
def test_an_unsupported_type_is_refused(annotation):
    """The error occurs at decoration, not at the first message."""
    with pytest.raises(ConfigurationError, match="handler: a body cannot be of type"):
        decoder(annotation, "handler", chunked=False)


def test_a_name_that_cannot_be_resolved_is_refused():
    """A type imported under TYPE_CHECKING does not exist at run time."""
    with pytest.raises(ConfigurationError, match="annotation 'Invoice' cannot be resolved"):
        decoder("Invoice", "handler", chunked=False)
    with pytest.raises(ConfigurationError, match=r"annotation 'list\[Invoice\]' cannot be resolved"):
        decoder("list[Invoice]", "handler", chunked=True)


@pytest.mark.parametrize("body", ["", "{", "nonsense", "[" * 100_000, "1" * 5_000, "\x00"])
def test_a_body_that_is_not_json_cannot_be_decoded(body: str):
    """Any kind of invalid JSON raises DecodeError."""
    with pytest.raises(DecodeError, match=r"^the body is not JSON: "):
        decoded(dict, body)


@pytest.mark.parametrize(
    ("annotation", "body"),
    [
        (dict, f'{{"card": {SECRET}}}'),
        (dict, SECRET),
        (Order, SECRET),
        (Order, f'{{"id": "{SECRET}"}}'),
        (Order, f'{{"note": "{SECRET}"}}'),
        (Strict, f'{{"id": 1, "{SECRET}": 1}}'),
        (Event, f'{{"type": "{SECRET}"}}'),
        (dict[str, Order], f'{{"{SECRET}": {{}}}}'),
        (Literal["a"], f'"{SECRET}"'),
        (list[Order], f'["{SECRET}"]'),
    ],
)
def test_an_error_contains_nothing_of_the_body(annotation, body: str):
    """Bodies are not logged, neither their values nor their keys."""
    with pytest.raises(DecodeError) as raised:
        decoded(annotation, body)
    assert "4111" not in str(raised.value)


def test_an_error_states_what_is_wrong_and_where():
    """The path contains only field names of the type."""
    with pytest.raises(DecodeError, match=r"^the body is not a valid Order: id: missing; note: string_type$"):
        decoded(Order, '{"note": 5}')
    with pytest.raises(DecodeError, match=r"^the body is not a valid Order: body: json_invalid$"):
        decoded(Order, "{")


def test_an_error_lists_a_few_problems_and_counts_the_rest():
    """A list with 1,000 problems results in one short line."""
    with pytest.raises(DecodeError) as raised:
        decoded(list[Order], json.dumps([{}] * 1_000))
    assert "4.id: missing and 995 more" in str(raised.value)
    assert len(str(raised.value)) < 200


def test_an_invalid_body_is_rejected_before_the_handler_runs(caplog: pytest.LogCaptureFixture):
    """Valid bodies are processed, and the log contains nothing of the invalid body."""
    caplog.set_level(logging.DEBUG)

    @fanfold.consumer
    async def handler(order: Order) -> int:
        return order.id

    assert deliver(handler, {"id": 1}, {"id": SECRET}).outcomes == [
        Done(1),
        Rejected("the body is not a valid Order: id: int_parsing"),
    ]
    assert SECRET not in caplog.text


def test_a_validator_that_raises_fails_only_its_record():
    """This also holds in a list: the handler gets the other bodies."""

    @fanfold.consumer(chunk_size=3)
    async def handler(bodies: list[Picky]) -> None:
        assert [body.number for body in bodies] == [1.0, 0.5]

    one, zero, two = deliver(handler, {"number": 1}, {"number": 0}, {"number": 2}).outcomes
    assert (one, two) == (Done(), Done())
    assert not isinstance(zero, Done)


def test_the_decoder_is_built_once_for_all_consumers_of_a_handler(monkeypatch: pytest.MonkeyPatch):
    """Idempotency, changed settings, and lists of bodies share it; building one takes pydantic milliseconds."""
    built = []
    create = pydantic.TypeAdapter

    def count(annotation):
        built.append(annotation)
        return create(annotation)

    async def handler(numbers: list[set[int]]) -> None: ...

    monkeypatch.setattr(pydantic, "TypeAdapter", count)
    idempotency = Idempotency(str, table="table")
    consumer = fanfold.consumer(chunk_size=5, idempotency=idempotency)(handler).with_settings(idempotency=None)
    deliver(consumer, *[[1]] * 20)
    deliver(consumer, [2])
    assert built == [set[int]]
    fanfold.consumer(handler)
    handler.__annotations__ = {"numbers": list[set[str]]}
    fanfold.consumer(handler)
    assert built[1:] == [list[set[int]], list[set[str]]]


def test_a_handler_that_cannot_be_hashed_is_a_handler():
    """Its decoder is built for each consumer."""

    class Unhashable:
        __hash__ = None

        def __call__(self, numbers: set[int]) -> None: ...

    assert deliver(fanfold.consumer(Unhashable()), [1]).outcomes == [Done()]
