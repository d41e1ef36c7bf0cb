"""The types of the public names, for type checkers; this file is never run."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, assert_type

import fanfold
from fanfold import BatchResult, Consumer, Context, Record
from fanfold._base.context import BatchContext
from fanfold._base.outcome import BatchResponse
from fanfold.logs import RecordLogging
from fanfold.observers import BatchCallbacks, BatchEnded
from fanfold.payloads import LargePayloads, open_store
from fanfold.testing import deliver, make_context


@fanfold.consumer
async def bare(order: dict[str, Any]) -> int:
    return len(order)


@fanfold.consumer(concurrency=5)
def synchronous(record: Record) -> str:
    return record.body


@asynccontextmanager
async def lifespan() -> AsyncIterator[float]:
    yield 1.5


@fanfold.consumer(lifespan=lifespan, deadline_margin=2)
async def with_state(text: str, ctx: Context[float]) -> float:
    assert_type(ctx.state, float)
    return ctx.state + len(text)


class Counting:
    def batch_started(self, records: Sequence[Record], batch: BatchContext[Any]) -> BatchCallbacks | None:
        return BatchCallbacks(batch_ended=self.batch_ended)

    def batch_ended(self, ended: BatchEnded) -> None:
        assert_type(ended.seconds, float)


@fanfold.consumer(observers=[Counting(), RecordLogging()])
async def observed(text: str) -> None: ...


fanfold.consumer(large_payloads=LargePayloads(buckets=("payloads",), max_bytes=1_000))
fanfold.consumer(large_payloads=open_store)
fanfold.consumer(concurrency="auto")
fanfold.consumer(concurrency=fanfold.Auto(maximum=50, overload_on=(TimeoutError, ConnectionError)))
fanfold.consumer(concurrency="automatic")  # type: ignore[call-overload] # not a concurrency
fanfold.consumer(fair=True, tenant="customer")
fanfold.consumer(tenant=lambda record: record.attributes["SenderId"], tenant_concurrency=2)
fanfold.consumer(large_payloads="payloads")  # type: ignore[call-overload] # not a store

observed.add_observer(Counting())
observed.add_observer(object())  # type: ignore[arg-type] # not an observer

assert_type(bare({}, make_context()), BatchResponse)
assert_type(deliver(synchronous, 1), BatchResult)

a_consumer: Consumer[..., Coroutine[Any, Any, int]] = bare
a_function: Callable[[dict[str, Any]], Coroutine[Any, Any, int]] = bare.function
a_def_function: Callable[[Record], str] = synchronous.function
not_any: Callable[[int], str] = bare.function  # type: ignore[assignment] # the consumer is not Any, so this is an error
