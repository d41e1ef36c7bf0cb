"""The peers that handle a batch of SQS records, each as in its documentation.

A peer creates a Lambda handler for a workload, once, as a module does during its import.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from measure import fail, installed

Event: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Event, Any], Any]
"""A Lambda handler: takes an event and a context, and returns a partial batch response."""
Work: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Workload:
    """The work of handlers with a record."""

    handler: Work
    """A handler of the body, for fanfold and the bare loop."""
    record_handler: Work
    """The same for Powertools' record."""
    title: str = ""
    concurrency: int = 100
    """Concurrency, for the peers that limit it."""
    decodes: bool = False
    """True if the handler takes the body decoded from JSON."""
    waits: bool = False
    """True if handlers wait: the bare loop is then a pool of ``concurrency`` workers."""
    fails: bool = False


def fanfold_peer(workload: Workload) -> Handler:
    """Create fanfold's consumer, which reuses its event loop between calls."""
    import fanfold

    return fanfold.consumer(concurrency=workload.concurrency)(workload.handler)


def powertools_peer(workload: Workload) -> Handler:
    """Create the handler of Powertools' documentation; it does not limit the concurrency."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

    processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    def handle(event: Event, context: Any) -> Any:
        return async_process_partial_response(
            event=event, record_handler=workload.record_handler, processor=processor, context=context
        )

    return handle


def fastsqs_peer(workload: Workload) -> Handler:
    """Create an app of FastSQS with the same concurrency; it decodes every body."""
    from fastsqs import FastSQS

    app = FastSQS(max_concurrent_messages=workload.concurrency)
    handler = workload.handler

    @app.default()
    async def default(payload: Any, ctx: Any) -> None:  # noqa: ARG001 - FastSQS gives both
        await handler(payload)

    return cast("Handler", app.handler)


def bare_peer(workload: Workload) -> Handler:
    """Create a bare loop over the records, or, for handlers that wait, a pool of workers over one iterator."""
    loop = asyncio.new_event_loop()
    most = workload.concurrency if workload.waits else 1

    async def run(event: Event) -> Any:
        pending, failures = iter(event["Records"]), list[dict[str, str]]()
        workers = min(most, len(event["Records"]))
        await asyncio.gather(*(_work(pending, workload, failures) for _ in range(workers)))
        return {"batchItemFailures": failures}

    return lambda event, _: loop.run_until_complete(run(event))


async def _work(pending: Iterator[dict[str, Any]], workload: Workload, failures: list[dict[str, str]]) -> None:
    handler, decodes = workload.handler, workload.decodes
    for record in pending:
        try:
            await handler(json.loads(record["body"]) if decodes else record["body"])
        except ValueError:
            failures.append({"itemIdentifier": record["messageId"]})


def nothing_peer(_workload: Workload) -> Handler:
    """Create a handler that iterates over the records and does nothing."""

    def handle(event: Event, _context: Any) -> Any:
        for _ in event["Records"]:
            pass
        return None

    return handle


PEERS: dict[str, Callable[[Workload], Handler]] = {
    "fanfold": fanfold_peer,
    "Powertools": powertools_peer,
    **({"FastSQS": fastsqs_peer} if installed("fastsqs") else {}),
    "bare": bare_peer,
    "nothing": nothing_peer,
}


def check(peer: str, response: Any, failures: int = 0) -> None:
    """End the script unless a response reports this number of failed records."""
    reported = 0 if response is None else len(response["batchItemFailures"])
    if reported != failures:
        fail(f"{peer} reported {reported} records as failed, not {failures}")
