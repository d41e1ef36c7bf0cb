"""DynamoDB requests of idempotency for each record of a batch of 100, in the first delivery and in a duplicate.

::

    python benchmarks/idempotency.py [--records 100] [--repeats 5] [--json FILE]

fanfold's consumer with 100 concurrent handlers is compared with Powertools' ``idempotent_function``, in its
``BatchProcessor`` (one record after another) and in a fanfold consumer (on threads). Each uses a table of the emulated
AWS, which is a single process. Requests are counted where the SDK sends them. The time is the median of the repeats,
for orientation only: on AWS, a request waits for some milliseconds instead of using this machine's processor.
"""

import os
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Annotated, Any, TypeAlias

from measure import Meter, Rows, main, table
from idempotency_table import new_table
from peers import Handler, check

Sent: TypeAlias = Counter[str]
"""The requests that clients have sent, by operation."""


def count(client: Any, sent: Sent) -> None:
    """Count the requests of a client where the SDK sends them."""
    client.meta.events.register("before-call.dynamodb", lambda model, **_: sent.update([model.name]))


def fanfold_consumer(table: str, sent: Sent, records: int) -> Handler:
    """Return a handler that does nothing, idempotently."""
    from aiobotocore.session import get_session

    import fanfold
    from fanfold.aws.entries import DynamoDBEntries
    from fanfold.idempotency import Idempotency

    @asynccontextmanager
    async def open_entries() -> Any:
        async with get_session().create_client("dynamodb") as client:
            count(client, sent)
            yield DynamoDBEntries(client, table)

    @fanfold.consumer(
        concurrency=records, idempotency=Idempotency(lambda order: order["id"], open_entries=open_entries)
    )
    async def handler(order: dict[str, str]) -> None: ...

    return handler


def powertools_processor(table: str, sent: Sent, records: int) -> Handler:  # noqa: ARG001 - one at a time
    """Return the same handler with Powertools."""
    from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

    once, config = _idempotent(table, sent)
    processor = BatchProcessor(event_type=EventType.SQS)

    def handler(event: Any, context: Any) -> Any:
        config.register_lambda_context(context)
        return process_partial_response(event, lambda record: once(order=record.json_body), processor, context)

    return handler


def powertools_on_threads(table: str, sent: Sent, records: int) -> Handler:
    """Return Powertools' idempotent function in a fanfold consumer."""
    import fanfold

    once, config = _idempotent(table, sent)
    consumer = fanfold.consumer(concurrency=min(records, 10))(once)

    def handler(event: Any, context: Any) -> Any:
        config.register_lambda_context(context)
        return consumer(event, context)

    return handler


def _idempotent(table: str, sent: Sent) -> tuple[Any, Any]:
    from aws_lambda_powertools.utilities.idempotency import (
        DynamoDBPersistenceLayer,
        IdempotencyConfig,
        idempotent_function,
    )

    store = DynamoDBPersistenceLayer(table_name=table)
    count(store.client, sent)
    config = IdempotencyConfig(event_key_jmespath="id")

    @idempotent_function(data_keyword_argument="order", config=config, persistence_store=store)  # type: ignore[untyped-decorator] # not typed in Powertools
    def once(order: dict[str, str]) -> None: ...

    return once, config


def measure(make: Callable[..., Handler], records: int, repeats: int) -> dict[str, Any]:
    """Deliver each batch twice; return the requests per record and the median duration."""
    from fanfold.testing import make_context, make_event

    sent = Sent()
    seconds: dict[str, list[float]] = {"first": [], "again": []}
    totals = {"first": Sent(), "again": Sent()}
    handler = make(new_table(), sent, records)
    for _ in range(repeats):
        event = make_event(*({"id": uuid.uuid4().hex} for _ in range(records)))
        for delivery in ("first", "again"):
            with Meter() as meter:
                response = handler(event, make_context(120))
            seconds[delivery].append(meter.seconds)
            check(make.__name__, response)
            totals[delivery] += sent
            sent.clear()
    if close := getattr(handler, "close", None):
        close()
    return {
        "requests a record": totals["first"].total() / repeats / records,
        "of them to claim": totals["first"]["PutItem"] / repeats / records,
        "all done before": totals["again"].total() / repeats / records,
        "s a batch": median(seconds["first"]),
        "s, all done": median(seconds["again"]),
    }


@table("aws-lambda-powertools", "aiobotocore", "ministack")
def idempotency(*, records: Annotated[int, "records of a batch"] = 100, repeats: Annotated[int, "batches"] = 5) -> Rows:
    """Count the DynamoDB requests of idempotency."""
    from fanfold._stack.emulator import local_stack

    peers = {
        "fanfold": fanfold_consumer,
        "Powertools, one after another": powertools_processor,
        "Powertools on fanfold's threads, 10 at once": powertools_on_threads,
    }
    with local_stack() as stack:
        os.environ.update(stack.environment)
        return [{"how": how, **measure(make, records, repeats)} for how, make in peers.items()]


if __name__ == "__main__":
    main(idempotency)
