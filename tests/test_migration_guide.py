"""The code of the migration guide runs, and returns the same response before and after."""

import asyncio
import re
import warnings
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fanfold import Consumer
from fanfold.inmemory import InMemoryStore
from fanfold.testing import make_context, make_event, make_extended_record, make_record, make_s3_record
from powertools_store import InProcess

GUIDE = (Path(__file__).parents[1] / "docs" / "migrate-from-powertools.md").read_text()
SECTIONS = {
    heading: re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for heading, text in re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
}
PAIRS = ["One import", "Logger, metrics, and tracer", "With idempotency", "A custom semaphore"]


@pytest.fixture(autouse=True)
def as_in_lambda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Powertools' async processor needs an event loop in the main thread."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


class Shop:
    """Functions that the guide's handlers call."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.names: dict[str, Any] = {
            "__name__": "guide",
            "ship": self.ship,
            "ship_now": self.ship_now,
            "import_object": lambda *place: self.done.append(place),
            "store": InProcess(),
        }

    async def ship(self, order: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.ship_now(order)

    def ship_now(self, order: dict[str, Any]) -> None:
        if order["customer"] is None:
            raise ValueError("an order without a customer")
        self.done.append(order["id"])

    def run(self, code: str, event: dict[str, Any]) -> Any:
        """Run a block of the guide, and call its handler."""
        with warnings.catch_warnings():
            exec(compile(code, "migrate-from-powertools.md", "exec"), self.names)  # noqa: S102 - our own page
            response = self.names["handler"](event, make_context())
        for value in self.names.values():
            if isinstance(value, Consumer):
                value.close()
        return response


def test_every_section_with_code_is_run():
    """A new section of the guide must be added to this test."""
    with_code = [heading for heading, blocks in SECTIONS.items() if blocks]
    assert with_code == [*PAIRS, "Events in the body", "Large payloads"]


@pytest.mark.parametrize("heading", PAIRS)
@pytest.mark.parametrize("when", [0, 1], ids=["before", "after"])
def test_before_and_after_return_the_same_response(heading: str, when: int):
    """Two orders are shipped, and the one without a customer is redelivered."""
    shop = Shop()
    orders = [{"id": number, "customer": None if number == 2 else "c"} for number in (1, 2, 3)]
    response = shop.run(SECTIONS[heading][when], make_event(*orders))
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert sorted(shop.done) == [1, 3]


@pytest.mark.parametrize("when", [0, 1], ids=["before", "after"])
def test_before_and_after_read_the_same_event(when: int):
    """The body is an S3 event notification."""
    shop = Shop()
    event = make_event(records=[make_s3_record("photos", "a.jpg")])
    assert shop.run(SECTIONS["Events in the body"][when], event) == {"batchItemFailures": []}
    assert shop.done == [("photos", "a.jpg")]


def test_after_large_payloads_are_fetched(monkeypatch: pytest.MonkeyPatch):
    """The batch also has a small payload; the store is in memory."""
    payloads = InMemoryStore()
    payloads.fill("bucket", {"key": b'{"id": 1, "customer": "c"}'})

    @asynccontextmanager
    async def open_s3():
        yield payloads

    monkeypatch.setattr("fanfold.aws.s3.open_s3", open_s3)
    shop = Shop()
    small = make_record({"id": 2, "customer": "c"}, message_id="message-1")
    event = make_event(records=[make_extended_record("bucket", "key", size_bytes=26), small])
    assert shop.run(SECTIONS["Large payloads"][0], event) == {"batchItemFailures": []}
    assert sorted(shop.done) == [1, 2]
