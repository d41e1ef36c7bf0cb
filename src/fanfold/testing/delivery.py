"""Delivery of a batch to a handler without a queue."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fanfold._base.callables import is_coroutine_function
from fanfold._base.dead_letter import configured_max_receives
from fanfold._base.outcome import DONE, BatchResponse, BatchResult, Failed, Outcome, acknowledges
from fanfold._base.record import Event, Record, records_from_event
from fanfold._base.sample_events import make_context, make_event
from fanfold._breakers.simulated import simulated_breakers
from fanfold._consumer.consumer import Consumer
from fanfold._consumer.respond import INVOKE
from fanfold._ports.queue import Refusal, Settler
from fanfold.errors import ConfigurationError, FanfoldError
from fanfold.inmemory.tables import InMemoryEntries


def deliver(
    handler: Callable[..., Any], *bodies: Any, records: Iterable[Mapping[str, Any]] = (), seconds: float = 30.0
) -> BatchResult:
    """Deliver a batch to a handler as Lambda would, and return the outcome of each record.

    The handler is a consumer; or a function that decorators have made of one, such as those of Powertools, which run
    too; or a Lambda handler that returns a batch response, such as one with a processor of ``fanfold.powertools``. The
    outcomes of the last are those of the consumers that it calls; for other records, ``Done()`` or ``Failed``, as its
    response states.

    The call uses a separate event loop and lifespan, and ends both. Consumers call no queue and no table: delays and
    dead letters count as accepted, unless the consumer has a custom settler; idempotency entries and the
    state of breakers exist in memory for this call only, unless ``Idempotency`` has a custom store.

    Args:
        handler: The consumer, or a Lambda handler.
        bodies: One body per record; a string is delivered as is, any other value as JSON.
        records: Whole records, such as ``make_fifo_record`` returns, after those of ``bodies``.
        seconds: Time until the invocation's timeout.

    Raises:
        ConfigurationError: If ``handler`` cannot be a Lambda handler, or does not return a batch response.
        Exception: Any exception of the handler, for which Lambda would redeliver the whole batch.
    """
    event, context = make_event(*bodies, records=records), make_context(seconds)
    if isinstance(handler, Consumer):
        return _invoke(handler, event, context)
    _check_handler(handler)
    results: list[BatchResult] = []

    def invoke(consumer: Consumer[..., Any], event: Event, context: Any) -> BatchResult:
        results.append(_invoke(consumer, event, context))
        return results[-1]

    token = INVOKE.set(invoke)
    try:
        response = handler(event, context)
    finally:
        INVOKE.reset(token)
    outcomes = {
        record.message_id: outcome
        for result in results
        for record, outcome in zip(result.records, result.outcomes, strict=True)
    }
    return _result(records_from_event(event), outcomes, response)


def _invoke(consumer: Consumer[..., Any], event: Event, context: Any) -> BatchResult:
    """Invoke a copy of a consumer that calls no queue and no table."""
    idempotency = consumer.settings.idempotency
    copy = consumer.with_settings(
        breaker=simulated_breakers(consumer.settings.breaker, time.monotonic, configured_max_receives()),
        settler=consumer.settings.settler or _open_accepting_settler,
        idempotency=None if idempotency is None else idempotency.with_entries(_open_entries),
    )
    token = INVOKE.set(None)
    try:
        return copy.invoke(event, context)
    finally:
        INVOKE.reset(token)
        copy.close()


def _check_handler(handler: Any) -> None:
    """Refuse what Lambda could not call.

    Raises:
        ConfigurationError: If it is not a function of an event and a context.
    """
    if isinstance(handler, type) or not callable(handler):
        reason = "it is not a function"
    elif any(base.__name__ == "BasePartialProcessor" for base in type(handler).__mro__):
        reason = "it is a batch processor of Powertools; pass the function that calls it"
    elif is_coroutine_function(handler):
        reason = "Lambda does not await an async def"
    elif not _takes_event_and_context(handler):
        reason = "it does not take an event and a context"
    else:
        return
    raise ConfigurationError(
        f"deliver needs a handler decorated with @fanfold.consumer, or a Lambda handler, not {handler!r}: {reason}"
    )


def _takes_event_and_context(handler: Callable[..., Any]) -> bool:
    try:
        inspect.signature(handler).bind({}, None)
    except (TypeError, ValueError):
        return False
    return True


def _result(records: Sequence[Record], outcomes: Mapping[str, Outcome], response: Any) -> BatchResult:
    """Return the outcomes as a handler's batch response states them; where it agrees, as its consumers reported them.

    Raises:
        ConfigurationError: If the response is not a batch response of these records.
    """
    failed = _failed(response, {record.message_id for record in records})
    final: list[Outcome] = []
    for record in records:
        outcome = outcomes.get(record.message_id)
        if outcome is None or acknowledges(outcome) is (record.message_id in failed):
            outcome = DONE
            if record.message_id in failed:
                outcome = Failed(FanfoldError("the handler's batch response reports this message as a failure"))
        final.append(outcome)
    return BatchResult(records, final, response)


def _failed(response: BatchResponse | Any, message_ids: set[str]) -> set[str]:
    failures = response.get("batchItemFailures") if isinstance(response, Mapping) else None
    if not isinstance(failures, list):
        raise ConfigurationError(
            f'the handler returned {response!r}, not a batch response such as {{"batchItemFailures": []}}; a handler '
            "of one message needs @fanfold.consumer"
        )
    for failure in failures:
        if not isinstance(failure, Mapping) or failure.get("itemIdentifier") not in message_ids:
            raise ConfigurationError(
                f"the handler's batch response has the failure {failure!r}, which is not "
                '{"itemIdentifier": …} with the id of a message of this batch'
            )
    return {failure["itemIdentifier"] for failure in failures}


class _AcceptingSettler:
    """A settler that accepts everything and calls no queue."""

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:  # noqa: ARG002 - accepted
        return ()


async def _open_accepting_settler() -> Settler:
    return _AcceptingSettler()


@asynccontextmanager
async def _open_entries() -> AsyncIterator[InMemoryEntries]:
    yield InMemoryEntries()
