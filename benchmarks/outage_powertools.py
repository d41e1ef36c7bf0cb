"""Powertools' batch processor and circuit breaker in the virtual world of an outage."""

import asyncio
import datetime as dt
import functools
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fanfold._replay.mapping import Errored, Invocation, Returned
from outage_environments import Event, OpenRun, Run, VirtualEnvironment
from outage_services import TABLE_CALL_SECONDS, ServiceDownError
from outage_world import OutageWorld
from virtual_threads import VirtualThread, wait_for
from virtual_time import VirtualLoop


class _VirtualModule:
    """The module ``datetime``, as far as Powertools uses it, in virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.datetime = self
        self._loop = loop

    def now(self) -> dt.datetime:
        """Return the virtual time."""
        return dt.datetime.fromtimestamp(self._loop.wall())  # noqa: DTZ006 - as Powertools calls it


def _follow_virtual_time(loop: VirtualLoop) -> None:
    """Let Powertools' circuit breaker read the virtual time, for the rest of this process or until the next call."""
    from aws_lambda_powertools.utilities.circuit_breaker import base
    from aws_lambda_powertools.utilities.circuit_breaker.persistence import base as persistence

    modules: list[Any] = [base, persistence]
    for module in modules:
        module.dt = _VirtualModule(loop)


def _store(world: OutageWorld, items: dict[str, Any]) -> Any:
    """Return a store of circuits for one environment, with the conditions of Powertools' DynamoDB layer.

    Powertools keeps its counters by the name of the circuit, in the process. Each simulated environment therefore has a
    name of its own, ``payments#7``, and all of them share the item ``payments``.
    """
    from aws_lambda_powertools.utilities.circuit_breaker.persistence import base

    rng = random.Random(world.rng.random())  # noqa: S311 - reproducible

    class Store(base.CircuitBreakerPersistenceLayer):
        def _get_record(self, name: str) -> Any:
            world.counts["reads"] += 1
            self._wait()
            item = items.get(_shared(name))
            return None if item is None else replace(item, name=name)

        def _put_record(self, record: Any, condition: str | None = None, expected_opened_at: int | None = None) -> None:
            world.counts["writes"] += 1
            self._wait()
            if condition == "half_open" and not _may_claim(
                items.get(_shared(record.name)), world.loop.wall(), expected_opened_at
            ):
                raise base.CircuitBreakerExistingLockError
            self._change(record)

        def _update_record(self, record: Any) -> None:
            world.counts["writes"] += 1
            self._wait()
            self._change(record)

        def _wait(self) -> None:
            wait_for(functools.partial(asyncio.sleep, rng.uniform(*TABLE_CALL_SECONDS)))

        def _change(self, record: Any) -> None:
            before = items.get(_shared(record.name))
            items[_shared(record.name)] = record
            world.note_state("payments", "CLOSED" if before is None else str(before.state), str(record.state))

    return Store()


def _shared(name: str) -> str:
    return name.partition("#")[0]


def _may_claim(item: Any, now: float, expected_opened_at: int | None) -> bool:
    if item is None:
        return False
    if item.state == "OPEN":
        return bool(not item.half_open_owner and expected_opened_at in (None, item.opened_at))
    return bool(item.state == "HALF_OPEN" and item.probe_lease_expiry <= int(now))


def powertools(world: OutageWorld) -> OpenRun:
    """Return what starts a batch processor whose record handler calls the service through a circuit breaker."""
    items: dict[str, Any] = {}
    _follow_virtual_time(world.loop)

    @asynccontextmanager
    async def open_run(environment: VirtualEnvironment) -> AsyncIterator[Run]:
        thread, handler = VirtualThread(), _powertools_handler(world, environment, items)

        async def run(event: Event) -> Invocation:
            try:
                return Returned(json.dumps(await thread.run(functools.partial(handler, event))))
            except Exception as error:  # noqa: BLE001 - a function error is a result of the invocation
                return Errored("error", repr(error))

        try:
            yield run
        finally:
            thread.close()

    return open_run


def _powertools_handler(world: OutageWorld, environment: VirtualEnvironment, items: dict[str, Any]) -> Any:
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
    from aws_lambda_powertools.utilities.circuit_breaker import CircuitBreakerConfig, circuit_breaker

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    @circuit_breaker(
        name=f"payments#{environment.number}",
        persistence_store=_store(world, items),
        config=CircuitBreakerConfig(handled_exceptions=ServiceDownError),
    )
    def call(body: str) -> None:
        wait_for(functools.partial(world.handle, body, environment))

    def record_handler(record: Any) -> None:
        call(record.body)

    def handler(event: Event) -> Any:
        context: Any = None
        return process_partial_response(event, record_handler, processor, context)

    return handler
