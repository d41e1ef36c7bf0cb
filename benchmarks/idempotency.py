"""What idempotency asks of DynamoDB: requests for each record of a batch of 100, the first time and when all are done.

::

    python benchmarks/idempotency.py [--records 100] [--repeats 5] [--json FILE]

fanfold's consumer, 100 handlers at once, beside Powertools' ``idempotent_function`` in its ``BatchProcessor``, one
record after another, and under a fanfold consumer on threads. Each against a table of the emulated AWS, whose one
process answers; requests are counted where the SDK sends them. Time is the median of the repeats, for orientation: on
AWS a request takes some milliseconds of waiting instead of the emulator's processor.
"""

from __future__ import annotations

import json
import os
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from machine import about_this_run, options_parser, positive, publish
from idempotency_table import new_table


class Requests:
    """Counts the requests that clients send."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def count(self, model: Any, **_: Any) -> None:
        """Take note of one; for the SDK's ``before-call``."""
        self.sent[model.name] += 1

    def taken(self) -> Counter[str]:
        """Return what was sent since the last call."""
        sent, self.sent = self.sent, Counter()
        return sent


def fanfold_consumer(table: str, requests: Requests, records: int) -> Callable[[Any, Any], Any]:
    """Return a handler that does nothing, once for each order."""
    from aiobotocore.session import get_session

    import fanfold
    from fanfold.aws.entries import DynamoDBEntries
    from fanfold.idempotency import Idempotency

    @asynccontextmanager
    async def open_entries() -> Any:
        async with get_session().create_client("dynamodb") as client:
            client.meta.events.register("before-call.dynamodb", requests.count)
            yield DynamoDBEntries(client, table)

    @fanfold.consumer(
        concurrency=records, idempotency=Idempotency(lambda order: order["id"], open_entries=open_entries)
    )
    async def handler(order: dict[str, str]) -> None: ...

    return handler


def powertools_processor(table: str, requests: Requests, records: int) -> Callable[[Any, Any], Any]:  # noqa: ARG001 - one at a time
    """Return Powertools' handler of the same."""
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    once, config = _idempotent(table, requests)
    processor = BatchProcessor(event_type=EventType.SQS)

    def handler(event: Any, context: Any) -> Any:
        config.register_lambda_context(context)
        return process_partial_response(event, lambda record: once(order=record.json_body), processor, context)

    return handler


def powertools_on_threads(table: str, requests: Requests, records: int) -> Callable[[Any, Any], Any]:
    """Return Powertools' idempotent function under a fanfold consumer."""
    import fanfold

    once, config = _idempotent(table, requests)
    consumer = fanfold.consumer(concurrency=min(records, 10))(once)

    def handler(event: Any, context: Any) -> Any:
        config.register_lambda_context(context)
        return consumer(event, context)

    return handler


def _idempotent(table: str, requests: Requests) -> tuple[Any, Any]:
    from aws_lambda_powertools.utilities.idempotency import (
        DynamoDBPersistenceLayer,
        IdempotencyConfig,
        idempotent_function,
    )

    store = DynamoDBPersistenceLayer(table_name=table)
    store.client.meta.events.register("before-call.dynamodb", requests.count)
    config = IdempotencyConfig(event_key_jmespath="id")

    @idempotent_function(data_keyword_argument="order", config=config, persistence_store=store)  # type: ignore[untyped-decorator] # Powertools' own
    def once(order: dict[str, str]) -> None: ...

    return once, config


def measure(make: Callable[..., Callable[[Any, Any], Any]], records: int, repeats: int) -> dict[str, Any]:
    """Deliver fresh batches, each twice; return requests a record and the median of the seconds."""
    from fanfold.testing import make_context, make_event

    requests = Requests()
    seconds: dict[str, list[float]] = {"first": [], "again": []}
    totals: dict[str, Counter[str]] = {"first": Counter(), "again": Counter()}
    handler = make(new_table(), requests, records)
    for _ in range(repeats):
        event = make_event(*({"id": uuid.uuid4().hex} for _ in range(records)))
        for delivery in ("first", "again"):
            started = time.perf_counter()
            response = handler(event, make_context(120))
            seconds[delivery].append(time.perf_counter() - started)
            if response["batchItemFailures"]:
                raise SystemExit(f"idempotency.py: {json.dumps(response)[:200]}")
            totals[delivery] += requests.taken()
    if close := getattr(handler, "close", None):
        close()
    return {
        "requests a record": totals["first"].total() / repeats / records,
        "of them to claim": totals["first"]["PutItem"] / repeats / records,
        "all done before": totals["again"].total() / repeats / records,
        "s a batch": statistics.median(seconds["first"]),
        "s, all done": statistics.median(seconds["again"]),
    }


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure what idempotency asks of DynamoDB.")
    parser.add_argument("--records", type=positive, default=100, help="records of a batch (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=5, help="batches (%(default)s)")
    options = parser.parse_args()
    from fanfold._stack.emulator import local_stack

    about = about_this_run("aws-lambda-powertools", "aiobotocore", "ministack")
    peers = {
        "fanfold": fanfold_consumer,
        "Powertools, one after another": powertools_processor,
        "Powertools on fanfold's threads, 10 at once": powertools_on_threads,
    }
    with local_stack() as stack:
        os.environ.update(stack.environment)
        rows = [{"how": how, **measure(make, options.records, options.repeats)} for how, make in peers.items()]
    publish(about, rows, options.json)


if __name__ == "__main__":
    main()
