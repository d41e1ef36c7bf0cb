"""A limit of the concurrency that a test sets, and batches that run under one."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

from fanfold import BatchResult, Record
from fanfold._base.deadline import Deadline
from fanfold._base.record import records_from_event
from fanfold._consumer.admission import AdaptiveLimit, Admission
from fanfold._consumer.batch import Batch
from fanfold._consumer.environment import open_environment
from fanfold._consumer.respond import respond
from fanfold._consumer.settings import Settings
from fanfold._consumer.stages import HandlerCall
from fanfold._consumer.task_batch import TaskBatch
from fanfold._consumer.thread_batch import ThreadBatch
from fanfold._consumer.thread_need import ThreadNeed


class ScriptedLimit:
    """A limit that changes to the next of its values whenever a record ends.

    Args:
        workers: The values; the last one stays.
        held_until: Time until which nothing starts.
        retry_after: What an overloaded service asks for, by the type of the error.
    """

    held: int = 0
    reason: str = "the service asked for a pause"
    delays_messages: bool = True
    is_quiet: bool = False

    def __init__(
        self, *workers: int, held_until: float = -math.inf, retry_after: dict[type[BaseException], float] | None = None
    ) -> None:
        self.workers, *self.next = workers
        self.held_until = held_until
        self.retry_after = retry_after or {}
        self.seen: list[tuple[object, int]] = []
        """For each record: the returned value or the error, and the records in flight at its end."""

    def batch_starts(self) -> None: ...

    def wait(self, now: float, running: int) -> float:
        return max(0.0, self.held_until - now)

    def started(self, now: float, running: int) -> float:
        return math.inf

    def ended(self, started_at: float, now: float, value: object, running: int) -> bool:
        self.seen.append((value, running))
        if not self.next:
            return False
        self.workers = self.next.pop(0)
        return True

    def delay_after(self, error: BaseException) -> float | None:
        return self.retry_after.get(type(error))


async def run(
    event: Any,
    limit: AdaptiveLimit,
    handler: Callable[[Record], Awaitable[Any]],
    *,
    on_thread: Callable[[Record], Any] | None = None,
    deadline: Deadline | None = None,
    **settings: Any,
) -> BatchResult:
    """Process a batch under an adaptive limit: with an async handler of records, or with one on threads."""
    records, checked = records_from_event(event), Settings(**settings)
    async with open_environment(checked, str) as environment:
        keywords: dict[str, Any] = {
            "concurrency": 1_000,
            "deadline": deadline or Deadline.after(60),
            "admission": Admission(adaptive=limit),
        }
        batch: Batch
        if on_thread is None:
            call = HandlerCall(handler, takes_list=False)
            batch = TaskBatch(records, call, checked, environment, **keywords)
        else:
            call = HandlerCall(handler, takes_list=False, on_thread=on_thread)
            need = ThreadNeed()
            need.handlers_wait = True
            batch = ThreadBatch(records, call, checked, environment, need=need, **keywords)
        await batch.run()
    return respond(batch, raise_on_total_failure=False)
