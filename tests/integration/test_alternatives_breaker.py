"""An outage of 15 minutes with the circuit breaker of Powertools, and with that of fanfold."""

import asyncio
import logging
from typing import Any

import pytest

import batches
import fanfold
from fanfold.testing import Simulator, make_context, make_event

pytest.importorskip("aws_lambda_powertools.utilities.circuit_breaker", reason="Powertools is not installed")

from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    async_process_partial_response,
    process_partial_response,
)
from aws_lambda_powertools.utilities.circuit_breaker import CircuitBreakerConfig, circuit_breaker
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerPersistenceLayer

MESSAGES = 40
OUTAGE_SECONDS = 900
NO_PROBE = CircuitBreakerConfig(recovery_timeout=3600)
"""In real time, which does not pass in a simulation; the messages have no receives left before the outage ends."""


class InMemory(CircuitBreakerPersistenceLayer):
    """The state of circuits, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Any] = {}

    def _get_record(self, name: str) -> Any:
        return self.records.get(name)

    def _put_record(self, record: Any, condition: str | None = None, expected_opened_at: int | None = None) -> None:
        self.records[record.name] = record

    def _update_record(self, record: Any) -> None:
        self.records[record.name] = record


@pytest.fixture(autouse=True)
def as_in_lambda(monkeypatch: pytest.MonkeyPatch):
    """Powertools' async processor needs an event loop in the main thread. Its warnings are not logged."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    logging.getLogger("aws_lambda_powertools").setLevel(logging.ERROR)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


def test_the_breaker_of_powertools_saves_the_service_and_not_the_messages():
    """After five failures, nothing calls the service, but each delivery uses up a receive: all become dead letters."""
    calls: list[str] = []
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    @circuit_breaker(name="def", persistence_store=InMemory(), config=NO_PROBE)
    def charge(body: str) -> None:
        calls.append(body)
        raise ConnectionError("the service is down")

    def handler(event, context):
        return process_partial_response(event, lambda record: charge(record.body), processor, context)

    with Simulator(handler, max_receive_count=5, visibility_timeout=180) as simulator:
        simulator.send(*range(MESSAGES))
        simulator.run()
    assert (len(calls), len(simulator.dead_letters)) == (5, MESSAGES)
    assert simulator.clock.now <= OUTAGE_SECONDS


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_breaker_of_fanfold_saves_the_service_and_the_messages(kind: str):
    """Only probes call the service during the outage; then all messages are processed."""
    calls: list[float] = []

    def charge(body: str) -> None:
        calls.append(simulator.clock.now)
        if simulator.clock.now < OUTAGE_SECONDS:
            raise ConnectionError("the service is down")

    async def charge_async(body: str) -> None:
        charge(body)

    breaker = fanfold.Breaker(f"fanfold, {kind}", on=ConnectionError)
    handler = fanfold.consumer(concurrency=10, breaker=breaker)(charge if kind == "def" else charge_async)
    with Simulator(handler, max_receive_count=5, visibility_timeout=180) as simulator:
        simulator.send(*range(MESSAGES))
        simulator.run()
    assert not simulator.dead_letters
    assert len([at for at in calls if at < OUTAGE_SECONDS]) <= 30
    assert len([at for at in calls if at >= OUTAGE_SECONDS]) == MESSAGES
    assert simulator.clock.now < OUTAGE_SECONDS + 120


def test_the_breaker_of_powertools_never_opens_around_an_async_function():
    """The decorator counts the created coroutine as a success, so every record calls the failed service."""
    calls = []
    store = InMemory()
    processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    @circuit_breaker(name="async", persistence_store=store, config=NO_PROBE)
    async def charge(body: str) -> None:
        calls.append(body)
        raise ConnectionError("the service is down")

    async def record_handler(record) -> None:
        await charge(record.body)

    response = async_process_partial_response(make_event(*range(MESSAGES)), record_handler, processor, make_context())
    assert (len(calls), len(batches.ids(response)), store.records) == (MESSAGES, MESSAGES, {})
