"""Create a batch from settings, with the stages of a handler call in their order.

A record passes these stages, from the outside in: its own stack of X-Ray subsegments, the observers, idempotency, its
payload from S3, and the handler with the decoded body. The first four are optional.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.operating_system import peak_resident_bytes, peak_with_children
from fanfold._base.ordering import Order
from fanfold._base.outcome import Retry
from fanfold._base.record import Record, is_fifo
from fanfold._consumer.admission import Admission, MemoryLimit, Policy, StartRate
from fanfold._consumer.batch import Batch
from fanfold._consumer.binding import Bind, decoding
from fanfold._consumer.classify import rejects
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.process_limits import concurrent_processes
from fanfold._consumer.settings import Settings, adjusting_concurrency
from fanfold._consumer.stages import EarlyResult, HandlerCall, Stage, run_stage, stop_group_at_failure
from fanfold._consumer.task_batch import TaskBatch
from fanfold._consumer.xray import isolate_on_thread, isolate_subsegments

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._consumer.admission import AdaptiveLimit
    from fanfold._consumer.breakers import Breakers
    from fanfold._consumer.commits import Commit, Commits
    from fanfold._consumer.held_records import HeldRecords
    from fanfold._consumer.idempotent_calls import IdempotentCalls
    from fanfold._consumer.process_start import Processes
    from fanfold._consumer.thread_need import ThreadNeed
    from fanfold._ports.payload_pointers import Resolve
    from fanfold.observers import Observer

_MB = 1024 * 1024


class BatchFactory:
    """Creates the batches of one consumer."""

    def __init__(self, function: Callable[..., Any], settings: Settings, bind: Bind) -> None:
        self._function = function
        self._settings = settings
        self._bind = bind
        self._memory: dict[object, float | None] = {}
        """Memory of this process in bytes, by the limit in the Lambda context."""
        self._need: ThreadNeed | None = None
        self._processes: Processes | None = None
        """Worker processes for the handler; None for threads, and for an ``async def``."""
        self._batch_settings = settings
        if settings.processes is not None:
            from fanfold._consumer.process_start import Processes

            self._processes = Processes(function, settings)
            self._batch_settings = settings.changed({"timeout": None})  # the processes watch it
        self.starts_anywhere: bool = not is_coroutine_function(function) and _is_plain(settings)
        """True if a batch without further observers can be created and started on any thread: a ``def`` handler, and no
        stage around it."""
        if settings.idempotency is not None:
            settings.idempotency.prefix_for(function)
            self._decode = decoding(function, chunked=settings.chunk_size is not None)

    def create(
        self,
        records: Sequence[Record],
        shared: BatchContext[Any],
        environment: ExecutionEnvironment,
        *,
        concurrency: int,
        shares_concurrency: bool,
        dead_letters: bool,
        observers: Sequence[Observer],
        reads_outcomes: bool,
    ) -> Batch:
        """Return a batch that has not started.

        Args:
            records: The records of the batch.
            shared: Context that the records share.
            environment: Resources that the batches of this execution environment share.
            concurrency: Maximum number of handlers that run concurrently, at least 1.
            shares_concurrency: Whether this is the maximum of all batches of this environment together.
            dead_letters: Whether rejected records are sent to a dead-letter queue.
            observers: Observers to notify.
            reads_outcomes: Whether the caller reads the outcomes, and not only the response.
        """
        settings, commit = self._settings, self._commit(shared)
        handler = self._bind(shared, environment.threads)
        if self._processes is not None:
            handler = self._in_processes(shared, environment, reads_outcomes=reads_outcomes or bool(observers))
        resolve, observation = None, None
        if settings.large_payloads:
            resolve = _resolver(settings, environment, self._memory_bytes(shared.lambda_context))
        if settings.idempotency is not None:
            idempotent = self._idempotent(records, handler.as_stage(), shared, environment, resolve, reads_outcomes)
            handler, commit = HandlerCall(idempotent, takes_list=True), idempotent.commit
        elif resolve is not None:
            handler = HandlerCall(_resolve_payloads(handler.as_stage(), resolve), takes_list=True)
        if observers:
            from fanfold._consumer.notify_observers import Observation

            peak_memory = peak_resident_bytes if self._processes is None else peak_with_children
            observation = Observation(observers, records, shared, rejects(settings.reject_on), peak_memory)
            handler = HandlerCall(observation.around(handler.as_stage()), takes_list=True)
            reads_outcomes = reads_outcomes or observation.reads_outcomes
        breakers = self._breakers(shared, environment)
        if breakers is not None:
            breakers.batch_starts(records, shared.lambda_context)
            if breakers.is_tick(records):
                return self._tick(records, breakers, environment, shared)
        arguments: dict[str, Any] = {
            "concurrency": concurrency,
            "deadline": shared.deadline,
            "admission": self._admission(shared, environment, concurrency, is_shared=shares_concurrency),
            "dead_letters": dead_letters,
            "commits": None if commit is None else _commits(records, commit, shared.deadline, self._conclude(shared)),
            "observation": observation,
            "keep_details": reads_outcomes or settings.commit is not None,
            "order": self._order(records) if settings.is_fair else None,
            "held": None if breakers is None else _held(records, breakers, shared.deadline),
        }
        if handler.on_thread is None:
            handler = handler._replace(call=isolate_subsegments(handler.call))
            return TaskBatch(records, handler, self._batch_settings, environment, **arguments)
        from fanfold._consumer.thread_batch import ThreadBatch  # not imported at cold start
        from fanfold._consumer.thread_need import ThreadNeed

        self._need = self._need or ThreadNeed()
        handler = handler._replace(on_thread=isolate_on_thread(handler.on_thread))
        return ThreadBatch(records, handler, settings, environment, need=self._need, **arguments)

    def _breakers(self, shared: BatchContext[Any], environment: ExecutionEnvironment) -> Breakers | None:
        if "fanfold._breakers.breaker" not in sys.modules:  # neither the setting nor a ``with`` block can use one
            return None
        from fanfold._breakers.breaker import breakers_of  # not imported at cold start
        from fanfold._consumer.breakers import Breakers

        settings, copy_of = breakers_of(self._settings.breaker), getattr(self._settings.breaker, "copy", None)
        return environment.keep_breakers(lambda: Breakers(settings, environment, shared.deadline.clock, copy_of))

    def _tick(
        self,
        records: Sequence[Record],
        breakers: Breakers,
        environment: ExecutionEnvironment,
        shared: BatchContext[Any],
    ) -> Batch:
        """Return the batch of a tick message, which is kept as long as a breaker needs it."""

        async def call(record: Record) -> None:
            if (seconds := await breakers.tick(record)) is not None:
                raise Retry("the service is down", after=seconds)

        return TaskBatch(
            records,
            HandlerCall(call, takes_list=False),
            Settings(),
            environment,
            concurrency=1,
            deadline=shared.deadline,
            admission=Admission(),
        )

    @property
    def processes(self) -> Processes | None:
        """The worker processes of the handler; None without any."""
        return self._processes

    def _in_processes(
        self, shared: BatchContext[Any], environment: ExecutionEnvironment, *, reads_outcomes: bool
    ) -> HandlerCall:
        assert self._processes is not None  # noqa: S101 - called only with processes
        settings, memory_bytes = self._settings, self._memory_bytes(shared.lambda_context)
        limit_bytes = None if memory_bytes is None else memory_bytes * (settings.memory_share or 1)
        pool = environment.processes(functools.partial(self._processes.open, limit_bytes))
        keeps_values = reads_outcomes or settings.commit is not None or settings.idempotency is not None
        batch = pool.begin(shared, settings.timeout, keeps_values=keeps_values)
        return HandlerCall(lambda record: pool.call(record, batch), takes_list=False)

    def _order(self, records: Sequence[Record]) -> Order:
        """Return the order that is fair to tenants, with the limit of each tenant."""
        from fanfold._base.dead_letter import configured_max_receives  # not imported at cold start
        from fanfold._base.fair_ordering import body_field, fair_order
        from fanfold._consumer.tenant_queue import TenantQueue

        settings, tenant = self._settings, self._settings.tenant
        tenant_of = body_field(tenant) if isinstance(tenant, str) else tenant
        order = fair_order(records, settings.chunk_size, tenant_of, configured_max_receives())
        limit = None if is_fifo(records) else settings.tenant_concurrency
        tenants = None if limit is None else TenantQueue(order, limit)
        return Order(order.lanes, tenants, order.errors)

    def _admission(
        self, shared: BatchContext[Any], environment: ExecutionEnvironment, concurrency: int, *, is_shared: bool
    ) -> Admission:
        memory_bytes, share = self._memory_bytes(shared.lambda_context), self._settings.memory_share
        limit_bytes = None if memory_bytes is None or share is None else share * memory_bytes

        def create() -> Admission:
            now, rate = shared.deadline.clock(), self._settings.starts_per_second
            policies: list[Policy] = []
            if limit_bytes is not None:
                from fanfold._consumer.memory_guard import MemoryGuard  # at the first batch

                guard = MemoryGuard(limit_bytes)
                if (pool := environment.pool) is not None:
                    guard = MemoryGuard(limit_bytes, resident=pool.resident_bytes, peak_within=lambda _: False)
                policies.append(MemoryLimit(guard, now))
                if concurrent_processes() > 1:
                    from fanfold._consumer.memory_share import MemoryShare

                    policies.append(MemoryShare(limit_bytes))
            if rate is not None:
                policies.append(StartRate(rate, now))
            adaptive: AdaptiveLimit | None = None
            if (auto := adjusting_concurrency(self._settings)) is not None:
                from fanfold._consumer.auto_limit import AutoLimit  # not imported at cold start

                adaptive = AutoLimit(auto, maximum=concurrency, clock=shared.deadline.clock)
            breakers: Breakers | None = environment.breakers
            if breakers is not None and breakers.gate_records:
                return breakers.admission(policies, adaptive, concurrency if is_shared else None)
            return Admission(policies, concurrency=concurrency if is_shared else None, adaptive=adaptive)

        return environment.admission((concurrency, is_shared, limit_bytes), create)

    def _memory_bytes(self, lambda_context: Any) -> float | None:
        """Return the memory of this process; None if it is unknown."""
        limit_mb = getattr(lambda_context, "memory_limit_in_mb", None)
        if not isinstance(limit_mb, int | float | str) or not limit_mb:
            return None
        if limit_mb not in self._memory:
            # On Managed Instances, the processes of an execution environment share its memory.
            self._memory[limit_mb] = float(limit_mb) * _MB / concurrent_processes()
        return self._memory[limit_mb]

    def _commit(self, shared: BatchContext[Any]) -> Commit | None:
        commit = self._settings.commit
        return None if commit is None else lambda done, _: commit(done, shared)

    def _conclude(self, shared: BatchContext[Any]) -> Callable[[], Awaitable[object]] | None:
        """Return what a commit stage with a method ``conclude`` does at the end of each batch."""
        conclude = getattr(self._settings.commit, "conclude", None)
        return None if conclude is None else lambda: conclude(shared)

    def _idempotent(
        self,
        records: Sequence[Record],
        stage: Stage,
        shared: BatchContext[Any],
        environment: ExecutionEnvironment,
        resolve: Resolve | None,
        keep_values: bool,
    ) -> IdempotentCalls:
        from fanfold._consumer.idempotent_calls import IdempotentCalls

        idempotency = self._settings.idempotency
        assert idempotency is not None  # noqa: S101 - called only with this setting
        return IdempotentCalls(
            records,
            stage,
            idempotency=idempotency,
            key_of=lambda record: idempotency.key_for(self._decode(record), self._function),
            resolve=resolve,
            entries=environment.entries,
            deadline=shared.deadline,
            keep_values=keep_values,
        )


def _held(records: Sequence[Record], breakers: Breakers, deadline: Deadline) -> HeldRecords:
    from fanfold._consumer.held_records import HeldRecords  # not imported at cold start

    return HeldRecords(records, breakers, deadline)


def _is_plain(settings: Settings) -> bool:
    """Return whether no stage runs around the handler, so that a record of a ``def`` handler needs no event loop."""
    stages = (
        settings.chunk_size,
        settings.processes,
        settings.idempotency,
        settings.large_payloads,
        settings.observers,
    )
    return not any(stages)


def _resolve_payloads(stage: Stage, resolve: Resolve) -> Stage:
    """Return a stage that replaces S3 pointers by their payloads and then calls the given stage."""

    async def resolve_one(record: Record) -> Record | EarlyResult:
        try:
            return await resolve(record)
        except Exception as error:  # noqa: BLE001 - fails only this record
            return EarlyResult(error)

    async def resolve_and_call(records: Sequence[Record]) -> list[Any]:
        resolved = [await resolve_one(record) for record in records]
        return await run_stage(stop_group_at_failure(records, resolved), stage)

    return resolve_and_call


def _resolver(settings: Settings, environment: ExecutionEnvironment, memory_bytes: float | None) -> Resolve | None:
    from fanfold._ports.payload_pointers import large_payloads_of, resolver  # not imported at cold start

    payloads = large_payloads_of(settings.large_payloads)
    return None if payloads is None else resolver(environment.payloads, payloads, payloads.limit(memory_bytes))


def _commits(
    records: Sequence[Record], commit: Commit, deadline: Deadline, conclude: Callable[[], Awaitable[object]] | None
) -> Commits:
    from fanfold._consumer.commits import Commits  # not imported at cold start

    return Commits(records, commit, deadline, conclude)
