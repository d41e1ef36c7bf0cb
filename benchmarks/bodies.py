"""The cost of decoding a body by its annotation: ``dict``, a struct of msgspec, a model of pydantic.

::

    python benchmarks/bodies.py [--records 10000] [--repeats 7] [--json FILE]

An order of about 640 bytes with ten lines. The handler is async and does nothing. Each measurement runs in a separate
process, warmed up with a small batch; the annotations take turns, and the table shows medians of the processor time.
"declared" is the time to import the library, to define the types, and to declare the consumer.
"""

import json
from collections.abc import Callable
from statistics import median
from typing import Any

import fanfold
from measure import Meter, Records, Repeats, Rows, in_turn, isolated, main, table
from fanfold._consumer.binding import decoding
from fanfold.testing import make_context, make_event, make_record
from peers import check

WARM_UP_RECORDS = 100
LINES = 10


def order(number: int) -> dict[str, Any]:
    """Return an order that every annotation accepts."""
    lines = [{"sku": f"sku-{number}-{line}", "count": line + 1, "price": 9.5} for line in range(LINES)]
    return {"order": number, "customer": f"customer-{number}", "gift": False, "note": "x" * 64, "lines": lines}


def of_dict() -> Callable[..., Any]:
    """Return a handler of parsed JSON, which is not validated."""

    async def handler(body: dict[str, Any]) -> None: ...

    return handler


def of_struct() -> Callable[..., Any]:
    """Return a handler of a struct."""
    import msgspec

    class Line(msgspec.Struct):
        sku: str
        count: int
        price: float

    class Order(msgspec.Struct):
        order: int
        customer: str
        gift: bool
        note: str
        lines: list[Line]

    async def handler(body: Order) -> None: ...

    return handler


def of_model() -> Callable[..., Any]:
    """Return a handler of a model."""
    import pydantic

    class Line(pydantic.BaseModel):
        sku: str
        count: int
        price: float

    class Order(pydantic.BaseModel):
        order: int
        customer: str
        gift: bool
        note: str
        lines: list[Line]

    async def handler(body: Order) -> None: ...

    return handler


ANNOTATIONS = {"dict (not validated)": of_dict, "msgspec.Struct": of_struct, "pydantic.BaseModel": of_model}


@isolated
def sample(annotation: str, records: int) -> tuple[float, float, float]:
    """Return the processor time of declaring the consumer, of decoding the bodies alone, and of a batch."""
    with Meter() as declaring:
        function = ANNOTATIONS[annotation]()
        handler = fanfold.consumer(function)
    handler(make_event(*map(order, range(WARM_UP_RECORDS))), make_context(900))
    decode = decoding(function, chunked=False)
    bodies = [fanfold.Record(make_record(json.dumps(order(number)))) for number in range(records)]
    with Meter() as decoding_all:
        for body in bodies:
            decode(body)
    event = make_event(*map(order, range(records)))
    with Meter() as handling:
        response = handler(event, make_context(900))
    check(annotation, response)
    return declaring.cpu_seconds, decoding_all.cpu_seconds, handling.cpu_seconds


@table("msgspec", "pydantic")
def bodies(*, records: Records = 10_000, repeats: Repeats = 7) -> Rows:
    """Measure the cost of decoding a body."""
    samples = in_turn(lambda annotation: sample(annotation, records), list(ANNOTATIONS), repeats)
    medians = {
        annotation: [median(values) for values in zip(*taken, strict=True)] for annotation, taken in samples.items()
    }
    _, theirs, _ = medians["pydantic.BaseModel"]
    return [
        {
            "async handler of": annotation,
            "decoding, CPU µs/record": decoded / records * 1e6,
            "/ pydantic": decoded / theirs,
            "batch, CPU µs/record": handled / records * 1e6,
            "declared, CPU ms": declared * 1e3,
        }
        for annotation, (declared, decoded, handled) in medians.items()
    ]


if __name__ == "__main__":
    main(bodies)
