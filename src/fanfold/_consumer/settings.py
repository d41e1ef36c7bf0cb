"""How a consumer works: every setting with its unit, its limits and its default."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from fanfold._base.backoff import Backoff
from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext
from fanfold._base.record import Record
from fanfold._consumer.classify import RejectOn
from fanfold._consumer.loop_thread import Lifespan
from fanfold._consumer.settle import OpenSettler
from fanfold.errors import ConfigurationError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.payload_pointers import OpenStore
    from fanfold.idempotency import Idempotency
    from fanfold.observers import Observer

CONCURRENCY_VARIABLE: Final = "FANFOLD_CONCURRENCY"

Opener = TypeVar("Opener")


class CommitStage(Protocol):
    """Makes durable what handlers returned, before the messages are acknowledged."""

    def __call__(self, done: Sequence[tuple[Record, Any]], batch: BatchContext[Any], /) -> Awaitable[Collection[int]]:
        """Given (record, value) pairs and what the batch shares, return the positions of those it made durable.

        What it leaves out, or loses by raising, is delivered again.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How a consumer works. Checked when the handler is decorated.

    Raises:
        ConfigurationError: If a setting is impossible.
    """

    concurrency: int = 10
    """Handlers that run concurrently in one process, from 1. ``FANFOLD_CONCURRENCY`` overrides it."""
    timeout: float | None = None
    """Seconds one call of the handler may take before it is cancelled and its record fails; None for as long as the
    invocation has."""
    chunk_size: int | None = None
    """Most bodies in one call of a handler that takes lists; None for a handler that takes one body."""
    backoff: Backoff | None = None
    """How long what failed stays hidden; None for the queue's visibility timeout."""
    reject_on: RejectOn | None = None
    """Which errors are permanent: an exception type, several, or a predicate. Their records are rejected."""
    dead_letter_queue_url: str | None = None
    """Where rejected messages go, with the reason; None for ``FANFOLD_DEAD_LETTER_QUEUE_URL`` from the environment, an
    empty text for nowhere: then they come back until the queue's own redrive policy takes them."""
    raise_on_total_failure: bool = False
    """Whether a batch of which nothing was acknowledged ends in an error: Lambda then polls the queue more slowly."""
    starts_per_second: float | None = None
    """Most records that start in a second in one execution environment, evenly spread; None for no limit."""
    memory_share: float | None = 0.9
    """Share of the function's memory over which no further record starts while others run, over 0 and up to 1; None
    for no guard."""
    deadline_margin: float | None = None
    """Seconds before the end of the invocation in which no further record starts; what still runs is cancelled when
    half of it is left. None for 5 % of the time given, at least 1 second, at most half of it."""
    lifespan: Lifespan | None = None
    """Makes what the handlers share, as an async context manager: entered at the first invocation, kept for the
    execution environment's life, given as ``ctx.state``."""
    large_payloads: bool | OpenStore = False
    """Whether bodies that point to S3, as the extended client libraries send them, are fetched before they are decoded:
    True for S3, or what opens another store."""
    idempotency: Idempotency | None = None
    """What keeps the handler from doing again what was done, ``fanfold.idempotency.Idempotency``; None for nothing."""
    commit: CommitStage | None = None
    """What has to be durable before an acknowledgement; None for nothing."""
    settler: OpenSettler | None = None
    """What hands back failed messages; None for SQS. For tests, and for queues that are not SQS."""
    observers: Sequence[Observer] = ()
    """Who is told of each batch, for logs, metrics and traces; see ``fanfold.observers``."""

    def __post_init__(self) -> None:
        check_count(self.concurrency, "concurrency")
        if self.chunk_size is not None:
            check_count(self.chunk_size, "chunk_size")
        _check_number(self.timeout, "timeout", "a number of seconds over 0", over=0)
        _check_number(self.deadline_margin, "deadline_margin", "0 seconds or more", least=0)
        _check_number(self.starts_per_second, "starts_per_second", "a number over 0", over=0)
        _check_number(self.memory_share, "memory_share", "a share over 0 and up to 1", over=0, most=1)
        self._check_kinds()
        if self.lifespan is not None:
            check_opener(self.lifespan, "lifespan")
        if callable(self.reject_on) and is_coroutine_function(self.reject_on):
            raise ConfigurationError("reject_on must be a plain function: what an async one returns is always true")
        if self.idempotency is not None and self.commit is not None:
            raise ConfigurationError("a consumer has either idempotency or a commit of its own: each acknowledges")
        _check_observers(self.observers)

    def _check_kinds(self) -> None:
        url, errors, payloads, once = self.dead_letter_queue_url, self.reject_on, self.large_payloads, self.idempotency
        for name, fits, wanted in [
            ("backoff", self.backoff is None or isinstance(self.backoff, Backoff), "a fanfold.Backoff or None"),
            ("dead_letter_queue_url", url is None or isinstance(url, str), "a URL or None"),
            ("raise_on_total_failure", isinstance(self.raise_on_total_failure, bool), "True or False"),
            (
                "reject_on",
                errors is None or _are_errors(errors) or (callable(errors) and not isinstance(errors, type)),
                "an exception type, a tuple of them or a predicate",
            ),
            (
                "large_payloads",
                isinstance(payloads, bool) or callable(payloads),
                "True, False or what opens a store",
            ),
            (
                "idempotency",
                once is None or (callable(getattr(once, "key_for", None)) and not isinstance(once, type)),
                "a fanfold.idempotency.Idempotency or None",
            ),
            *((name, _is_callable_or_none(getattr(self, name)), "callable") for name in _CALLABLES),
        ]:
            if not fits:
                raise ConfigurationError(f"{name} must be {wanted}, not {getattr(self, name)!r}")

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return these settings with some changed.

        Raises:
            ConfigurationError: If a setting is unknown or its value impossible.
        """
        known = [field.name for field in dataclasses.fields(Settings)]
        if unknown := sorted(changes.keys() - set(known)):
            raise ConfigurationError(f"unknown setting {', '.join(unknown)}; a consumer knows {', '.join(known)}")
        return dataclasses.replace(self, **changes)


_CALLABLES = ("commit", "settler")


def _is_callable_or_none(value: object) -> bool:
    return value is None or callable(value)


def allowed_concurrency(settings: Settings) -> int:
    """Return the handlers that run concurrently: the setting, or ``FANFOLD_CONCURRENCY`` from the environment.

    Raises:
        ConfigurationError: If the environment's value is not an integer of at least 1.
    """
    text = os.environ.get(CONCURRENCY_VARIABLE)
    if not text:
        return settings.concurrency
    return check_count(int(text) if text.strip().isdecimal() else text, CONCURRENCY_VARIABLE)


def check_count(value: object, name: str) -> int:
    """Return a whole number from 1.

    Raises:
        ConfigurationError: If it is none; the error names it.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number from 1, not {value!r}")
    return value


def check_opener(value: Opener, name: str) -> Opener:
    """Return what makes an async context manager when it is called, as far as that can be told without calling it.

    Raises:
        ConfigurationError: If it does not; the error names it.
    """
    if not callable(value) or _makes_another(value) or (hasattr(value, "__aenter__") and not isinstance(value, type)):
        raise ConfigurationError(
            f"{name} must be a function under @contextlib.asynccontextmanager, not called yet, or None, not {value!r}"
        )
    return value


def _makes_another(function: Callable[..., Any]) -> bool:
    """Tell whether a function makes a coroutine or a generator, or is under ``contextmanager``, which is not async."""
    return (
        is_coroutine_function(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(inspect.unwrap(function))
    )


def check_observer(value: Observer) -> Observer:
    """Return an observer.

    Raises:
        ConfigurationError: If it is none.
    """
    if isinstance(value, type) or not callable(getattr(value, "batch_started", None)):
        raise ConfigurationError(f"an observer is an object with a batch_started method, not {value!r}")
    return value


def _check_observers(value: object) -> None:
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"observers must be a list of observers, not {value!r}")
    for observer in value:
        check_observer(observer)


def _check_number(
    value: object,
    name: str,
    wanted: str,
    *,
    least: float | None = None,
    over: float | None = None,
    most: float | None = None,
) -> None:
    if value is None:
        return
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if fits and least is not None:
        fits = value >= least  # type: ignore[operator] # a number
    if fits and over is not None:
        fits = value > over  # type: ignore[operator] # a number
    if fits and most is not None:
        fits = value <= most  # type: ignore[operator] # a number
    if not fits:
        raise ConfigurationError(f"{name} must be {wanted}, or None, not {value!r}")


def _are_errors(value: object) -> bool:
    several = value if isinstance(value, tuple) else (value,)
    return all(isinstance(each, type) and issubclass(each, BaseException) for each in several)
