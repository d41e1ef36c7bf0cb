"""Settings of a consumer, with their units, limits, and defaults."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext
from fanfold._base.frozen import Options
from fanfold._base.record import Record, TenantOf
from fanfold.errors import ConfigurationError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._base.backoff import Backoff
    from fanfold._breakers.breaker import Breaker
    from fanfold._consumer.auto import Auto
    from fanfold._consumer.classify import RejectOn
    from fanfold._consumer.loop_thread import Lifespan
    from fanfold._consumer.settle import OpenSettler
    from fanfold._ports.payload_pointers import LargePayloads, OpenStore
    from fanfold.idempotency import Idempotency
    from fanfold.observers import Observer

CONCURRENCY_VARIABLE: Final = "FANFOLD_CONCURRENCY"
AUTO: Final = "auto"
"""The value of a concurrency that adjusts itself within the default limits."""

Concurrency: TypeAlias = "int | Literal['auto'] | Auto"
"""A fixed number of concurrent handlers, or a limit that adjusts itself."""

_DEFAULT_CONCURRENCY: Final = 10

Opener = TypeVar("Opener")


class CommitStage(Protocol):
    """Makes the values that handlers returned durable before their messages are acknowledged."""

    def __call__(self, done: Sequence[tuple[Record, Any]], batch: BatchContext[Any], /) -> Awaitable[Collection[int]]:
        """Make the values of (record, value) pairs durable, and return the positions of those that are.

        The messages of all other pairs are redelivered; if it raises, all of them are.
        """
        ...


class Settings(Options):
    """Settings of a consumer, checked when the handler is decorated.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    concurrency: Concurrency = _DEFAULT_CONCURRENCY
    """Maximum number of handlers that run concurrently in one process, at least 1; invocations that overlap there share
    it. ``"auto"``, or ``fanfold.Auto`` with bounds, for a limit that adjusts itself to the service that the handlers
    call. ``FANFOLD_CONCURRENCY`` overrides it."""
    timeout: float | None = None
    """Seconds after which a call of the handler is cancelled and its record fails; None for no limit other than the
    deadline of the invocation."""
    chunk_size: int | None = None
    """Maximum number of bodies in one call of a handler that takes lists; None for a handler that takes one body."""
    processes: int | Literal["auto"] | None = None
    """Number of worker processes that run a ``def`` handler, each one record at a time, in place of threads. They use
    every vCPU, and code that holds the interpreter lock is stopped at its ``timeout``. ``"auto"`` for the vCPUs that
    there are; None for threads."""
    max_tasks_per_process: int | None = None
    """Number of records after which a worker process is replaced, for handlers that leak memory; None for no limit. A
    process that takes more than its share of the function's memory is replaced in any case."""
    backoff: Backoff | None = None
    """Delay until a failed message is redelivered; None for the queue's visibility timeout."""
    breaker: Breaker | Sequence[Breaker] | None = None
    """Stops calling a service that is down, and keeps the messages until it is back: a ``fanfold.Breaker``, or several
    that count distinct errors; None for none."""
    reject_on: RejectOn | None = None
    """Permanent errors: an exception type, a tuple of types, or a predicate. Their records are rejected."""
    dead_letter_queue_url: str | None = None
    """URL of the queue that rejected messages are sent to, with the reason. None for the environment variable
    ``FANFOLD_DEAD_LETTER_QUEUE_URL``. An empty string for none: rejected messages are redelivered until the redrive
    policy of the source queue moves them."""
    raise_on_total_failure: bool = False
    """Fail the invocation if no record was acknowledged, so that Lambda polls the queue less often."""
    fair: bool = False
    """Start the records of a batch round robin over their tenants, so that those of one tenant do not delay the others.
    A record on its last receive (``FANFOLD_MAX_RECEIVE_COUNT``) starts first. FIFO queues keep their order."""
    tenant: str | TenantOf | None = None
    """The tenant of a record, for ``fair`` and ``tenant_concurrency``: the name of a field of the JSON body, or a
    function of the ``Record`` that returns a hashable value. None for the message group, as in fair queues. A record
    without a tenant is one by itself."""
    tenant_concurrency: int | None = None
    """Maximum number of records, or of lists of records, of one tenant that run concurrently, at least 1; it implies
    ``fair``. None for no limit other than ``concurrency``."""
    starts_per_second: float | None = None
    """Maximum number of records that start per second in one execution environment, evenly spread; None for no limit.
    """
    memory_share: float | None = 0.9
    """Share of the function's memory above which no record starts while others run, greater than 0 and at most 1; None
    for no limit."""
    deadline_margin: float | None = None
    """Seconds before the Lambda timeout in which no more records start; handlers that still run are cancelled when
    half of it is left. None for 5% of the remaining time, at least 1 second and at most half of the remaining time."""
    lifespan: Lifespan | None = None
    """Async context manager for resources that the handlers share: entered in the first invocation, kept for the life
    of the execution environment, available as ``ctx.state``."""
    large_payloads: bool | OpenStore | LargePayloads = False
    """Fetch payloads from S3 for messages that the extended client libraries sent: True for any bucket and the default
    size limit, ``fanfold.payloads.LargePayloads`` for other limits, or a function that opens another store."""
    idempotency: Idempotency | None = None
    """Prevents the handler from processing a message twice, see ``fanfold.idempotency.Idempotency``; None to disable.
    """
    commit: CommitStage | None = None
    """Makes return values durable before their messages are acknowledged; None if nothing must be."""
    settler: OpenSettler | None = None
    """Sends dead letters and changes visibility timeouts; None for SQS. For tests, and for queues other than SQS."""
    observers: Sequence[Observer] = ()
    """Observers that are notified of each batch, for logs, metrics, and traces; see ``fanfold.observers``."""

    def _check(self) -> None:
        _check_concurrency(self.concurrency)
        for name in ("chunk_size", "tenant_concurrency", "max_tasks_per_process"):
            if getattr(self, name) is not None:
                check_count(getattr(self, name), name)
        if self.processes is not None:
            self._check_processes()
        elif self.max_tasks_per_process is not None:
            raise ConfigurationError(
                "max_tasks_per_process has no effect without processes; set processes or remove it"
            )
        _check_number(self.timeout, "timeout", "a number of seconds greater than 0", above=0)
        _check_number(self.deadline_margin, "deadline_margin", "0 seconds or more", minimum=0)
        _check_number(self.starts_per_second, "starts_per_second", "a number greater than 0", above=0)
        _check_number(self.memory_share, "memory_share", "a number greater than 0 and at most 1", above=0, maximum=1)
        self._check_types()
        if self.breaker is not None:
            from fanfold._breakers.breaker import breakers_of  # not imported at cold start

            breakers_of(self.breaker)
        if self.lifespan is not None:
            check_opener(self.lifespan, "lifespan")
        if callable(self.reject_on) and is_coroutine_function(self.reject_on):
            raise ConfigurationError("reject_on must be a def, not an async def: a coroutine is always true")
        if self.idempotency is not None and self.commit is not None:
            raise ConfigurationError(
                "idempotency and commit cannot be combined, because each decides which messages are acknowledged; "
                "remove one of them"
            )
        if self.tenant is not None and not self.is_fair:
            raise ConfigurationError("tenant has no effect without fair=True or tenant_concurrency; set one of them")
        _check_observers(self.observers)

    def _check_processes(self) -> None:
        if self.processes != "auto":
            check_count(self.processes, "processes", ' or "auto"')
        if self.chunk_size is not None:
            raise ConfigurationError("processes and chunk_size cannot be combined; remove one of them")
        if self.concurrency not in {_DEFAULT_CONCURRENCY, self.processes}:
            raise ConfigurationError(
                f"processes={self.processes!r} is the concurrency: remove concurrency={self.concurrency!r}"
            )

    @property
    def is_fair(self) -> bool:
        """True if the records start round robin over their tenants."""
        return self.fair or self.tenant_concurrency is not None

    def _check_types(self) -> None:
        url, errors, payloads = self.dead_letter_queue_url, self.reject_on, self.large_payloads
        idempotency = self.idempotency
        for name, valid, expected in [
            ("backoff", _is_backoff_or_none(self.backoff), "a fanfold.Backoff or None"),
            ("dead_letter_queue_url", url is None or isinstance(url, str), "a URL or None"),
            ("fair", isinstance(self.fair, bool), "True or False"),
            ("tenant", _is_tenant_or_none(self.tenant), "the name of a field, a def of the record, or None"),
            ("raise_on_total_failure", isinstance(self.raise_on_total_failure, bool), "True or False"),
            (
                "reject_on",
                errors is None or _are_exception_types(errors) or (callable(errors) and not isinstance(errors, type)),
                "an exception type, a tuple of exception types, or a predicate",
            ),
            (
                "large_payloads",
                _are_large_payloads(payloads),
                "True, False, a fanfold.payloads.LargePayloads, or a function that opens a store",
            ),
            (
                "idempotency",
                idempotency is None
                or (callable(getattr(idempotency, "key_for", None)) and not isinstance(idempotency, type)),
                "a fanfold.idempotency.Idempotency or None",
            ),
            *((name, _is_callable_or_none(getattr(self, name)), "callable") for name in _CALLABLES),
        ]:
            if not valid:
                raise ConfigurationError(f"{name} must be {expected}, not {getattr(self, name)!r}")

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return these settings with some changed.

        Raises:
            ConfigurationError: If a setting is unknown or its value is invalid.
        """
        if unknown := sorted(changes.keys() - set(self._names)):
            raise ConfigurationError(
                f"unknown setting {', '.join(unknown)}; the settings of a consumer are {', '.join(self._names)}"
            )
        return Settings(**dict(zip(self._names, self._fields(), strict=True)) | changes)


_CALLABLES = ("commit", "settler")


def _is_backoff_or_none(value: object) -> bool:
    if value is None:
        return True
    from fanfold._base.backoff import Backoff  # not imported at cold start

    return isinstance(value, Backoff)


def _is_tenant_or_none(value: object) -> bool:
    if value is None or isinstance(value, str):
        return value != ""
    return callable(value) and not isinstance(value, type) and not is_coroutine_function(value)


def _is_callable_or_none(value: object) -> bool:
    return value is None or callable(value)


def _are_large_payloads(value: object) -> bool:
    if isinstance(value, bool):
        return True
    if callable(value):
        return not isinstance(value, type) or hasattr(value, "__aenter__")
    from fanfold._ports.payload_pointers import LargePayloads  # not imported at cold start

    return isinstance(value, LargePayloads)


def allowed_concurrency(settings: Settings) -> int:
    """Return the maximum number of concurrent handlers: ``FANFOLD_CONCURRENCY`` if it is set, or the setting.

    Raises:
        ConfigurationError: If ``FANFOLD_CONCURRENCY`` is neither an integer of at least 1 nor ``auto``.
    """
    concurrency = _concurrency(settings)
    return concurrency if isinstance(concurrency, int) else concurrency.maximum


def adjusting_concurrency(settings: Settings) -> Auto | None:
    """Return the bounds of a concurrency that adjusts itself; None if it is fixed.

    Raises:
        ConfigurationError: As ``allowed_concurrency``.
    """
    concurrency = _concurrency(settings)
    return None if isinstance(concurrency, int) else concurrency


def _concurrency(settings: Settings) -> int | Auto:
    text = os.environ.get(CONCURRENCY_VARIABLE, "").strip()
    if text and text != AUTO:
        return check_count(int(text) if text.isdecimal() else text, CONCURRENCY_VARIABLE, f' or "{AUTO}"')
    if isinstance(settings.concurrency, int) and not text:
        return settings.concurrency
    from fanfold._consumer.auto import Auto  # not imported at cold start

    return settings.concurrency if isinstance(settings.concurrency, Auto) else Auto()


def _check_concurrency(value: object) -> None:
    if isinstance(value, int) or value is None:
        check_count(value, "concurrency", f', "{AUTO}", or a fanfold.Auto')
    elif value != AUTO or not isinstance(value, str):
        from fanfold._consumer.auto import Auto  # not imported at cold start

        if not isinstance(value, Auto):
            check_count(value, "concurrency", f', "{AUTO}", or a fanfold.Auto')


def check_count(value: object, name: str, alternatives: str = "") -> int:
    """Return a setting that must be an integer of at least 1.

    Args:
        value: The value.
        name: Name of the setting.
        alternatives: Text about other valid values, for the error.

    Raises:
        ConfigurationError: If it is not; the error contains its name.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be an integer of at least 1{alternatives}, not {value!r}")
    return value


def check_opener(value: Opener, name: str) -> Opener:
    """Return a function that must return an async context manager, as far as it can be checked without calling it.

    Raises:
        ConfigurationError: If it does not; the error contains its name.
    """
    if not callable(value) or _returns_another_type(value) or _is_context_manager(value):
        raise ConfigurationError(
            f"{name} must be a function decorated with @contextlib.asynccontextmanager, passed without calling it, "
            f"or None, not {value!r}"
        )
    return value


def _is_context_manager(value: object) -> bool:
    return hasattr(value, "__aenter__") and not isinstance(value, type)


def _returns_another_type(function: Callable[..., Any]) -> bool:
    """Return whether a function returns a coroutine or a generator, or is decorated with ``contextmanager``."""
    return (
        is_coroutine_function(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(inspect.unwrap(function))
    )


def check_observer(value: Observer) -> Observer:
    """Return a value that must be an observer.

    Raises:
        ConfigurationError: If it is not.
    """
    if isinstance(value, type) or not callable(getattr(value, "batch_started", None)):
        raise ConfigurationError(f"an observer must be an object with a batch_started method, not {value!r}")
    return value


def _check_observers(value: object) -> None:
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"observers must be a list of observers, not {value!r}")
    for observer in value:
        check_observer(observer)


def _check_number(
    value: object,
    name: str,
    expected: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
) -> None:
    if value is None:
        return
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    if valid and minimum is not None:
        valid = value >= minimum  # type: ignore[operator] # a number
    if valid and above is not None:
        valid = value > above  # type: ignore[operator] # a number
    if valid and maximum is not None:
        valid = value <= maximum  # type: ignore[operator] # a number
    if not valid:
        raise ConfigurationError(f"{name} must be {expected}, or None, not {value!r}")


def _are_exception_types(value: object) -> bool:
    types = value if isinstance(value, tuple) else (value,)
    return all(isinstance(error_type, type) and issubclass(error_type, BaseException) for error_type in types)
