"""Functions that decorators made of a consumer, called for each batch of a worker.

Decorators of a Lambda handler, such as Powertools' ``log_metrics``, act around each invocation: metrics that are never
flushed would be lost. So the worker calls the decorated handler, on a thread, once for each call of the consumer; the
records themselves run in the worker's session, on its event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fanfold._base import aws_limits
from fanfold._base.outcome import BatchResult, Failed, Outcome, acknowledges
from fanfold._base.record import Event
from fanfold._base.sample_events import make_context
from fanfold._base.threads import Threads
from fanfold._consumer.consumer import Consumer
from fanfold._consumer.respond import INVOKE
from fanfold.errors import FanfoldError


class DecoratedSession:
    """Calls a decorated consumer for each batch; the consumer inside it uses a session of the worker.

    A message is acknowledged only if the consumer reported it as done and the decorated handler returned a response
    that does not contain it.

    Args:
        handler: The decorated consumer.
        session: Processes a batch on the event loop of the worker.
    """

    def __init__(self, handler: Callable[..., Any], session: Callable[[Event], Awaitable[BatchResult]]) -> None:
        self._handler = handler
        self._session = session
        self._threads = Threads()

    async def __call__(self, event: Event) -> BatchResult:
        """Process a batch.

        Raises:
            FanfoldError: If the decorators did not call the consumer once with the whole batch.
            Exception: Any exception of the decorators.
        """
        loop = asyncio.get_running_loop()
        results: list[BatchResult] = []

        def invoke(_: Consumer[..., Any], event: Event, context: Any) -> BatchResult:  # noqa: ARG001 - no deadline
            ended = asyncio.run_coroutine_threadsafe(self._process(event), loop).result()
            if isinstance(ended, BaseException):
                raise ended
            results.append(ended)
            return ended

        context = contextvars.copy_context()
        context.run(INVOKE.set, invoke)
        # No invocation ends, but a message can be in flight for no longer than this.
        lambda_context = make_context(aws_limits.SQS_MAX_VISIBILITY_SECONDS, function_name=_name_of(self._handler))
        response = await self._threads.run_in(context, self._handler, event, lambda_context)
        if len(results) != 1 or len(results[0].records) != len(event["Records"]):
            raise FanfoldError("the decorators must call the consumer once, with the whole batch")
        return _agreed(results[0], response)

    async def _process(self, event: Event) -> BatchResult | BaseException:
        INVOKE.set(None)
        try:
            return await self._session(event)
        except BaseException as error:  # noqa: BLE001 - raised on the thread; here, KeyboardInterrupt would end the loop
            return error


def _agreed(result: BatchResult, response: Any) -> BatchResult:
    """Return the result of a consumer, without the successes that the decorated handler reports as failures.

    Raises:
        FanfoldError: If its response is not a batch response.
    """
    failures = response.get("batchItemFailures") if isinstance(response, Mapping) else None
    if not isinstance(failures, list) or not all(isinstance(failure, Mapping) for failure in failures):
        raise FanfoldError(f"the decorated handler returned {response!r}, not a batch response")
    failed = {failure.get("itemIdentifier") for failure in failures}
    outcomes: list[Outcome] = [
        Failed(FanfoldError("a decorator reported this message as a failure"))
        if acknowledges(outcome) and record.message_id in failed
        else outcome
        for record, outcome in zip(result.records, result.outcomes, strict=True)
    ]
    return BatchResult(result.records, outcomes, result.response)


def _name_of(handler: Any) -> str:
    return str(getattr(handler, "__name__", "function"))
