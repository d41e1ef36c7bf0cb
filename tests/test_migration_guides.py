"""The code of the other migration guides runs: consumers ship what they can, and jobs have the right output."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fanfold import inmemory, run_inline
from fanfold.inmemory import InMemoryStore
from fanfold.testing import make_event
from guides import DOCS, ORDERS, Shop, code_of, page

CONSUMERS = {
    "migrate-from-a-semaphore": ("handler", 2),
    "migrate-from-celery": ("ship", 1),
    "migrate-from-chalice": ("handler", 1),
    "migrate-from-sqs-batchlib": ("handler", 1),
}
"""The name of the handler, and the number of blocks that run, for each guide to a consumer."""
JOBS = ["migrate-from-distributed-map", "migrate-from-lithops"]


def test_every_guide_is_run():
    """The guide from Powertools has a separate test."""
    guides = {file.stem for file in DOCS.glob("migrate-*.md")} - {"migrate-from-powertools"}
    assert guides == {*CONSUMERS, *JOBS}
    assert {name: len(code_of(page(name))) for name in CONSUMERS} == {name: n for name, (_, n) in CONSUMERS.items()}


@pytest.mark.parametrize(
    ("guide", "block"), [(guide, block) for guide, (_, blocks) in CONSUMERS.items() for block in range(blocks)]
)
def test_the_code_of_a_guide_ships_the_valid_orders(guide: str, block: int):
    """The order without a customer is redelivered, before and after."""
    shop = Shop()
    response = shop.run(code_of(page(guide))[block], make_event(*ORDERS), CONSUMERS[guide][0])
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    assert sorted(shop.done) == [1, 3]


def output_of(guide: str, params: dict[str, Any], store: InMemoryStore | None = None) -> Any:
    """Run the job of a guide in this process, and return its output."""
    (code,) = code_of(page(guide))

    @asynccontextmanager
    async def in_memory():
        backend = inmemory.backend()
        yield backend if store is None else replace(backend, store=store)

    job = Shop().define(code)["job"].with_changes(backend=in_memory)
    ended = asyncio.run(run_inline(job, params))
    assert ended.succeeded
    return ended.output


def test_the_job_of_the_guide_from_lithops_adds_up_the_squares():
    """The output is that of a plain sum."""
    assert output_of("migrate-from-lithops", {"until": 10_000}) == sum(number * number for number in range(10_000))


def test_the_job_of_the_guide_from_distributed_map_counts_the_delayed_flights():
    """The file is cut into several segments."""
    delays = [0, 12, 0, -3, 45] * 20
    store = InMemoryStore("results")
    store.fill("flights", {"2013.csv": "\n".join(["delay", *map(str, delays), ""]).encode()})
    params = {"bucket": "flights", "key": "2013.csv", "chunk_bytes": 50}
    assert output_of("migrate-from-distributed-map", params, store) == 40
