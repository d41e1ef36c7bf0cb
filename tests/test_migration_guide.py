"""The code of the guide from Powertools runs, and returns the same response before and after."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import asynccontextmanager

import pytest

from fanfold.inmemory import InMemoryStore
from fanfold.testing import make_event, make_extended_record, make_record, make_s3_record
from guides import ORDERS, Shop, code_of, page

GUIDE = page("migrate-from-powertools")
SECTIONS = {
    heading: code_of(text)
    for heading, text in re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
}
PAIRS = [
    "Change one import",
    "Replace BatchProcessor",
    "Keep logger, metrics, and tracer",
    "Keep the idempotency table",
]


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


def test_every_section_with_code_is_run():
    """A new section of the guide must be added to this test."""
    with_code = [heading for heading, blocks in SECTIONS.items() if blocks]
    assert with_code == [*PAIRS, "Read events in the body", "Fetch large payloads"]


@pytest.mark.parametrize("heading", PAIRS)
@pytest.mark.parametrize("when", [0, 1], ids=["before", "after"])
def test_before_and_after_return_the_same_response(heading: str, when: int):
    """Two orders are shipped, and the one without a customer is redelivered."""
    shop = Shop()
    response = shop.run(SECTIONS[heading][when], make_event(*ORDERS))
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert sorted(shop.done) == [1, 3]


@pytest.mark.parametrize("when", [0, 1], ids=["before", "after"])
def test_before_and_after_read_the_same_event(when: int):
    """The body is an S3 event notification."""
    shop = Shop()
    event = make_event(records=[make_s3_record("photos", "a.jpg")])
    assert shop.run(SECTIONS["Read events in the body"][when], event) == {"batchItemFailures": []}
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
    assert shop.run(SECTIONS["Fetch large payloads"][0], event) == {"batchItemFailures": []}
    assert sorted(shop.done) == [1, 2]
