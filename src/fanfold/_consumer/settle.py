"""Settle records that did not succeed while others still run: send dead letters, and set delays on the source queue.

Each call settles up to 10 messages. If a call fails, no message is lost: it is reported in the batch response and
redelivered after its visibility timeout. Lambda does not change the visibility timeout of a reported message, so the
delays that are set here apply.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from fanfold._base import aws_limits
from fanfold._base.backoff import DELIVERY, Backoff
from fanfold._base.log import BatchLogger
from fanfold._base.outcome import Failed, Outcome, Rejected, Retrying
from fanfold._base.record import Record
from fanfold.errors import ConfigurationError, FanfoldError, ServiceError

if TYPE_CHECKING:  # not imported at cold start
    from fanfold._ports.queue import Refusal, Settler


_ENVELOPE_BYTES = 1_024
"""Size of the message attribute that holds the reason, without the reason itself."""

RETRY_SECONDS: Final = (0.2, 0.8, None)
"""Seconds after the first and the second attempt of a call, if a retry may help; the third is the last."""

T = TypeVar("T")

OpenSettler: TypeAlias = Callable[[], Awaitable["Settler"]]
"""Returns the settler of this execution environment, which is opened when the first message has to be settled."""


def delay_of(outcome: Outcome, receive_count: int, backoff: Backoff | None) -> int | None:
    """Return the seconds until the next delivery as an integer; None for the queue's visibility timeout."""
    if isinstance(outcome, Retrying) and outcome.after is not None:
        seconds = outcome.after
    elif isinstance(outcome, Failed | Retrying | Rejected) and backoff is not None:
        seconds = backoff.next_delay(receive_count)
    else:
        return None
    return None if math.isnan(seconds) else visibility_seconds(seconds)


def visibility_seconds(seconds: float) -> int:
    """Return a delay as a visibility timeout: an integer from 0 to 12 hours."""
    return math.ceil(min(max(seconds, 0), aws_limits.SQS_MAX_VISIBILITY_SECONDS))


class _Sender(Generic[T]):
    """Sends messages of one kind in calls of up to ten, in the background; independent of the other kind.

    Args:
        open_settler: Opens the settler.
        send: Makes one call; returns the messages that a retry may settle.
        entry_bytes: Returns the size of a message in a call.
        warning: Text to log if messages could not be settled, with a place for the error.
        on_failed: Called with messages that could not be settled.
        retry_seconds: As ``Settling``'s.
        logger: The log of the batch.
    """

    def __init__(
        self,
        open_settler: OpenSettler,
        send: Callable[[Settler, list[T]], Awaitable[list[T]]],
        entry_bytes: Callable[[T], int],
        warning: str,
        on_failed: Callable[[Sequence[T]], object],
        retry_seconds: Sequence[float | None],
        logger: BatchLogger,
    ) -> None:
        self._open = open_settler
        self._logger = logger
        self._send = send
        self._entry_bytes = entry_bytes
        self._warning = warning
        self._on_failed = on_failed
        self._retry_seconds = retry_seconds
        self._queue: deque[T] = deque()
        self.task: asyncio.Task[None] | None = None
        """The task that sends; done once everything is sent."""
        self._stopped = False
        self._transient_error: BaseException | str = ""

    def add(self, message: T) -> None:
        self._queue.append(message)
        if not self._stopped and (self.task is None or self.task.done()):
            self.task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        self._stopped = True
        if self.task is not None:
            self.task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(0)  # records that end in the same iteration of the event loop share a call
        try:
            settler = await self._open()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the messages are redelivered
            _raise_if_cancelled(error)
            messages = list(self._queue)
            self._queue.clear()
            self._give_up(messages, error)
            return
        attempts = deque(self._retry_seconds)
        while self._queue:
            transient: list[T] = []
            while self._queue:
                transient += await self._attempt(settler, _take_entries(self._queue, self._entry_bytes))
            delay = attempts.popleft()
            if transient and delay is None:
                self._give_up(transient, self._transient_error)
                attempts = deque(self._retry_seconds)  # for messages that are added meanwhile
            elif transient:
                await asyncio.sleep(delay or 0)
                self._queue.extend(transient)
            else:
                attempts = deque(self._retry_seconds)

    async def _attempt(self, settler: Settler, messages: list[T]) -> list[T]:
        """Send messages, and return those to retry; if a call fails, each of its messages is sent alone."""
        try:
            transient = await self._send(settler, messages)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            _raise_if_cancelled(error)
            if _is_transient(error):
                self._transient_error = error
                return messages
            if isinstance(error, ConfigurationError) or len(messages) == 1:
                self._give_up(messages, error)
                return []
            return [retry for message in messages for retry in await self._attempt(settler, [message])]
        if transient:
            self._transient_error = f"{len(transient)} were refused for a transient reason"
        return transient

    def _give_up(self, messages: Sequence[T], error: BaseException | str) -> None:
        self._on_failed(messages)
        self._logger.warning(self._warning, error if isinstance(error, FanfoldError | str) else repr(error))


def _raise_if_cancelled(error: BaseException) -> None:
    """Raise a cancellation of this task again; a settler may raise CancelledError too."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, ServiceError) and error.transient


class Settling:
    """Dead letters and delays of one batch: each kind, and each message, independent of the others.

    Args:
        open_settler: Opens the settler.
        backoff: Delays of records that failed.
        dead_letters: Whether there is a dead-letter queue.
        retry_seconds: Delay after each attempt of a call that a retry may help; None after the last one.
    """

    def __init__(
        self,
        open_settler: OpenSettler,
        *,
        backoff: Backoff | None,
        dead_letters: bool,
        retry_seconds: Sequence[float | None] = RETRY_SECONDS,
    ) -> None:
        self._open = open_settler
        self._backoff = backoff
        self._backoff_failed = False
        self._retry_seconds = retry_seconds
        self.has_dead_letter_queue: bool = dead_letters
        """True if rejected messages are sent to a dead-letter queue."""
        self.forwarded: set[int] = set()
        """Positions of rejected records that the dead-letter queue has accepted."""
        self.copied: dict[int, int] = {}
        """Delays of the copies that a queue has accepted, by the position of the record that each replaces."""
        self._senders: list[_Sender[Any]] = []
        """Those that are in use."""
        self._stopped = False

    @property
    def is_idle(self) -> bool:
        """True if every message is settled, or has been given up."""
        return all(sender.task is None or sender.task.done() for sender in self._senders)

    @functools.cached_property
    def _logger(self) -> BatchLogger:
        return BatchLogger()

    @functools.cached_property
    def _rejects(self) -> _Sender[tuple[int, Record, str]]:
        return self._sender(
            self._send_dead_letters,
            _reject_bytes,
            "rejected messages could not be sent to the dead-letter queue; they will be redelivered: %s",
            self._back_off,
        )

    @functools.cached_property
    def _changes(self) -> _Sender[tuple[Record, int]]:
        return self._sender(
            self._change_visibility,
            _change_bytes,
            "delays could not be set; the messages will be redelivered after their visibility timeout: %s",
            len,
        )

    @functools.cached_property
    def _copies(self) -> _Sender[tuple[int, Record, int]]:
        return self._sender(
            self._send_copies,
            lambda copy: _reject_bytes((copy[0], copy[1], "")),
            "copies of messages on their last receive could not be sent: %s",
            len,
        )

    def _sender(
        self,
        send: Callable[[Settler, list[T]], Awaitable[list[T]]],
        entry_bytes: Callable[[T], int],
        warning: str,
        on_failed: Callable[[Sequence[T]], object],
    ) -> _Sender[T]:
        sender = _Sender(self._open, send, entry_bytes, warning, on_failed, self._retry_seconds, self._logger)
        if self._stopped:
            sender.stop()
        self._senders.append(sender)
        return sender

    def add(self, position: int, record: Record, outcome: Outcome, *, at_least: float | None = None) -> int | None:
        """Settle a record that has ended, in the background, and return its delay; None if it has no delay.

        Args:
            position: Its position in the batch.
            record: The record.
            outcome: Its outcome.
            at_least: Seconds for which the message must not be redelivered; None for any time.
        """
        if isinstance(outcome, Rejected) and self.has_dead_letter_queue:
            self._rejects.add((position, record, outcome.reason))
            return None
        delay = self.delay(record, outcome)
        if at_least is not None:
            delay = max(delay or 0, visibility_seconds(at_least))
        if delay is not None:
            self.change_visibility(record, delay)
        return delay

    def delay(self, record: Record, outcome: Outcome) -> int | None:
        """Return the seconds until a record's next delivery as an integer; None for the queue's visibility timeout."""
        try:
            DELIVERY.set((record.message_id, record.receive_count))
            return delay_of(outcome, record.receive_count, self._backoff)
        except Exception:  # a backoff of the user's
            if not self._backoff_failed:
                self._logger.exception(
                    "the backoff failed; messages will be redelivered after their visibility timeout"
                )
            self._backoff_failed = True
            return None

    def change_visibility(self, record: Record, seconds: int) -> None:
        """Set a message's visibility timeout to some seconds from now, in the background."""
        self._changes.add((record, seconds))

    def copy(self, position: int, record: Record, seconds: int) -> None:
        """Send a copy of a message to its queue, after a delay, in the background; then ``copied`` contains it."""
        self._copies.add((position, record, seconds))

    async def finish(self, within_seconds: float | None) -> None:
        """Wait until all messages are settled, no longer than this; leave the others to their visibility timeout."""
        if self.is_idle:
            return
        try:
            async with asyncio.timeout(within_seconds):
                # More than once, because a refused dead letter gets a delay.
                while running := {sender.task for sender in self._senders if sender.task and not sender.task.done()}:
                    await asyncio.wait(running)
        except TimeoutError:
            self._logger.warning(
                "some messages could not be settled in time; they will be redelivered after their visibility timeout"
            )
            self.stop()

    def stop(self) -> None:
        """Stop settling; messages that are not settled, or are added later, keep their visibility timeout."""
        self._stopped = True
        for sender in self._senders:
            sender.stop()

    async def wait_for_dead_letters(self, within_seconds: float | None) -> None:
        """Wait until the dead-letter queue has accepted or refused what was added, no longer than this."""
        if self.has_dead_letter_queue and self._rejects.task is not None:
            await asyncio.wait({self._rejects.task}, timeout=within_seconds)

    async def _send_dead_letters(
        self, settler: Settler, rejects: list[tuple[int, Record, str]]
    ) -> list[tuple[int, Record, str]]:
        refusals = await settler.send_dead_letters([(record, reason) for _, record, reason in rejects])
        refused = _by_position(refusals, len(rejects))
        self.forwarded.update(position for index, (position, _, _) in enumerate(rejects) if index not in refused)
        for index, refusal in refused.items():
            _, record, _ = rejects[index]
            self._logger.warning("the dead-letter queue refused message %s: %s", record.message_id, refusal.reason)
            if refusal.final:
                self._back_off([rejects[index]])
        return [rejects[index] for index, refusal in refused.items() if not refusal.final]

    def _back_off(self, rejects: Sequence[tuple[int, Record, str]]) -> None:
        for _, record, reason in rejects:
            if (delay := self.delay(record, Rejected(reason))) is not None:
                self.change_visibility(record, delay)

    async def _send_copies(
        self, settler: Settler, copies: list[tuple[int, Record, int]]
    ) -> list[tuple[int, Record, int]]:
        if (send := getattr(settler, "send_copies", None)) is None:
            raise ConfigurationError("the settler of this consumer cannot send copies")
        refused = _by_position(await send([(record, seconds) for _, record, seconds in copies]), len(copies))
        self.copied.update(
            (position, seconds) for index, (position, _, seconds) in enumerate(copies) if index not in refused
        )
        for index, refusal in refused.items():
            self._logger.warning("the queue refused a copy of %s: %s", copies[index][1].message_id, refusal.reason)
        return [copies[index] for index, refusal in refused.items() if not refusal.final]

    async def _change_visibility(self, settler: Settler, changes: list[tuple[Record, int]]) -> list[tuple[Record, int]]:
        transient: list[tuple[Record, int]] = []
        while changes:
            refused = _by_position(await settler.change_visibility(changes), len(changes))
            transient += [changes[index] for index, refusal in refused.items() if not refusal.final]
            # SQS limits the total visibility timeout to 12 hours and does not report how much of it is left.
            halves = [(changes[index][0], changes[index][1] // 2) for index in refused if refused[index].final]
            changes = [(record, seconds) for record, seconds in halves if seconds]
        return transient


def _by_position(refusals: Sequence[Refusal], count: int) -> dict[int, Refusal]:
    """Return the refusals of a call by position.

    Raises:
        ValueError: If one of them has no valid position: which entries were accepted is unknown.
    """
    from fanfold._base.positions import checked_positions  # not imported at cold start

    checked_positions([refusal.position for refusal in refusals], count)
    return {refusal.position: refusal for refusal in refusals}


def _take_entries(queue: deque[T], entry_bytes: Callable[[T], int]) -> list[T]:
    """Remove from a queue, and return, the entries that fit into one call: up to 10, and 1 MiB in total."""
    entries: list[T] = []
    total_bytes = 0
    while queue and len(entries) < aws_limits.SQS_BATCH_ENTRIES:
        total_bytes += entry_bytes(queue[0])
        if entries and total_bytes > aws_limits.SQS_BATCH_BYTES:
            break
        entries.append(queue.popleft())
    return entries


def _change_bytes(change: tuple[Record, int]) -> int:  # noqa: ARG001 - a receipt handle is small
    return 0


def _reject_bytes(reject: tuple[int, Record, str]) -> int:
    _, record, reason = reject
    try:
        attributes = sum(len(name) + len(str(value)) for name, value in record.message_attributes.items())
        return len(record.body.encode(errors="surrogatepass")) + 4 * (attributes + len(reason)) + _ENVELOPE_BYTES
    except Exception:  # noqa: BLE001 - attributes of another shape: in a call alone
        return aws_limits.SQS_BATCH_BYTES
