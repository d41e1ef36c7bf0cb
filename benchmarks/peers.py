"""The peers that handle a batch of SQS records, each as its documentation shows it.

A peer makes a Lambda handler for a workload, once, as a module does when it is imported.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from measure import fail, installed

Event: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Event, Any], Any]
"""What Lambda calls: an event and a context in, a partial batch response out."""
Work: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Workload:
    """What handlers do with a record."""

    handler: Work
    """Takes the body; fanfold and the bare loop run it."""
    record_handler: Work
    """The same, written for Powertools' record."""
    title: str = ""
    concurrency: int = 100
    """Handlers at once, for the peers that have a bound."""
    decodes: bool = False
    """Whether the handler takes the body decoded from JSON."""
    waits: bool = False
    """Whether handlers wait: the bare loop is then a bare pool of as many workers as the bound."""
    fails: bool = False


def fanfold_peer(workload: Workload) -> Handler:
    """Make fanfold's consumer, which keeps its event loop from one call to the next."""
    import fanfold

    return fanfold.consumer(concurrency=workload.concurrency)(workload.handler)


def powertools_peer(workload: Workload) -> Handler:
    """Make the handler that Powertools' documentation shows; it has no bound."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

    processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    def handle(event: Event, context: Any) -> Any:
        return async_process_partial_response(
            event=event, record_handler=workload.record_handler, processor=processor, context=context
        )

    return handle


def fastsqs_peer(workload: Workload) -> Handler:
    """Make an app of FastSQS under the same bound; it decodes every body."""
    from fastsqs import FastSQS

    app = FastSQS(max_concurrent_messages=workload.concurrency)
    handler = workload.handler

    @app.default()
    async def default(payload: Any, ctx: Any) -> None:  # noqa: ARG001 - FastSQS gives both
        await handler(payload)

    return cast("Handler", app.handler)


def bare_peer(workload: Workload) -> Handler:
    """Make a bare loop over the records, or, for handlers that wait, a bare pool of workers over one iterator."""
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
    """Make a handler that looks at each record and does nothing; it fails nothing either."""

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
    """End the script unless a response reports so many records as failed."""
    reported = 0 if response is None else len(response["batchItemFailures"])
    if reported != failures:
        fail(f"{peer} reported {reported} records as failed, not {failures}")
