"""The knowledge of one execution environment about a breaker, and its decisions. Nothing is read or written here.

Its methods may be called from any thread. What has to be read or written is noted, and the keeper is woken.
"""

from __future__ import annotations

import math
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Final, NamedTuple

from fanfold._base import aws_limits
from fanfold._base.log import logger
from fanfold._breakers.breaker import Breaker
from fanfold._breakers.transitions import may_probe, opened
from fanfold._breakers.window import RESULTS, ResultWindow
from fanfold._ports.breakers import Circuit

POLL_SECONDS: Final = 0.01
"""Interval at which a start asks whether the circuit has been read."""
PROBE_POLL_SECONDS: Final = 0.05
"""Interval at which a start asks whether a probe of this execution environment has ended."""
UNLIMITED: Final = sys.maxsize
_MOST_FAILING: Final = 4
"""Records in flight in a new execution environment after failures, so that it decides after three of them, soon."""
_SLOW_SECONDS: Final = 1.0
"""Time of a call from which the next two run concurrently: one after the other, the decision would take too long."""
_REREAD_SECONDS: Final = 5.0
"""Least time between two reads of a circuit that is closed, for messages that were received before."""
_AFTER_OUTAGE_SECONDS: Final = aws_limits.LAMBDA_MAX_TIMEOUT_SECONDS
"""Time after an outage in which a batch that began in it may still store messages; it is as long as an invocation."""
_AFTER_OUTAGE_REREAD_SECONDS: Final = 30.0
"""Least time between two reads in this time, for any batch."""
_WIDEST: Final = 1_024
"""Records in flight from which nothing limits the starts any more."""


class Work(NamedTuple):
    """Tasks of the keeper."""

    failures: int
    """Failures to add to those of all execution environments."""
    opens: bool
    """True if the circuit has to be opened."""
    is_back: bool | None
    """The result of a probe: whether the service is back; None without a probe that ended."""
    reads: bool
    """True if the circuit has to be read."""


NOTHING: Final = Work(0, opens=False, is_back=None, reads=False)


class BreakerState:
    """One breaker in one execution environment.

    Args:
        breaker: Its setting.
        clock: Returns the time of the deadlines: monotonic, in seconds.
    """

    def __init__(self, breaker: Breaker, clock: Callable[[], float]) -> None:
        self.breaker = breaker
        self.owner: str = uuid.uuid4().hex
        """Identifies this execution environment."""
        self.circuit: Circuit = Circuit()
        """The circuit, as far as it is known here."""
        self.workers: int = 1
        """Maximum number of records in flight: few in a new execution environment, and after an outage."""
        self.is_quiet: bool = False
        """True if a success changes nothing."""
        self.wakes: Callable[[], object] = _nothing
        """Wakes the keeper."""
        self.listeners: list[Callable[[], object]] = []
        """Called when records that were not allowed to start may start now, or the reverse."""
        self._clock = clock
        self._lock = threading.Lock()
        self._window = ResultWindow(breaker.failures, breaker.share)
        self._work = NOTHING
        self._is_read, self._read_at = False, -math.inf
        self._has_permit = False
        self._probes_from = math.inf
        """Time from which records that start show whether the service is back."""
        self._grows_after_success = False
        self._ended_in_step = 0
        self._is_logged_open = False
        """True if the log states that it is open; the circuit may be open before."""
        self.calls_saved: int = 0
        """Records that were not started so far."""
        self._saved_before = 0
        """Those before this outage."""

    @property
    def is_open(self) -> bool:
        """True while the service must not be called."""
        return not self.circuit.is_closed

    @property
    def is_failing(self) -> bool:
        """True if calls failed, and none has succeeded since."""
        return self._window.is_failing

    @property
    def is_probing(self) -> bool:
        """True while this execution environment has the right to probe."""
        return self.is_open and self.circuit.owner == self.owner

    @property
    def is_idle(self) -> bool:
        """True if nothing has to be read or written, and no message to be made visible."""
        releases = self.circuit.is_closed and self.circuit.has_held
        return not (self.has_work or self.is_probing or releases)

    # --- For admission.

    def batch_starts(self) -> None:
        """Have the circuit read, unless it is known to be closed."""
        if not self._is_read or self.is_open or self.circuit.has_held or self._may_have_held():
            self._read()

    def _may_have_held(self) -> bool:
        """Return whether another environment may have stored messages since the circuit was read, and be gone."""
        now = self.breaker.clock()
        is_recent = self.circuit.closed_at > 0 and now - self.circuit.closed_at <= _AFTER_OUTAGE_SECONDS
        return is_recent and now >= self._read_at + _AFTER_OUTAGE_REREAD_SECONDS

    def now(self) -> float:
        """Return the current time, on the clock of ``ended``."""
        return self._clock()

    def call_starts(self) -> None:
        """Have the circuit read before the first call of a ``with`` block."""
        if not self._is_read and not self._work.reads:
            self._read()

    def redelivered(self) -> None:
        """Have the circuit read for a message that was received before: it may have been held, and be the probe."""
        if self._is_read and self.circuit.is_closed and self.breaker.clock() >= self._read_at + _REREAD_SECONDS:
            self._read()

    def wait(self, now: float) -> float:  # noqa: ARG002 - as a policy
        """Return the seconds until the next record may start; infinity while the circuit is open."""
        if self._work.reads:
            return POLL_SECONDS
        if self.circuit.is_closed:
            return 0.0
        if self.is_probing:
            return 0.0 if self._has_permit else PROBE_POLL_SECONDS
        if may_probe(self.circuit, self.breaker.clock()):
            self._read()  # it also claims the probe
            return POLL_SECONDS
        return math.inf

    def started(self) -> float:
        """Note that a record starts; return until when others may start unasked."""
        if self.circuit.is_closed:
            return math.inf
        self._has_permit = False
        return -math.inf

    def ended(self, started_at: float, now: float, failed: bool | None) -> bool:
        """Note that a record ended; return whether more or fewer records may start now.

        Args:
            started_at: When its handler started.
            now: Current time.
            failed: Whether the service is down, according to this record; None if it does not show that.
        """
        with self._lock:
            if self.is_open:
                self._ended_while_open(started_at, failed)
                return True  # also if a ``with`` block has just opened it: nothing more starts
            if failed:
                self._failed(now)
            elif failed is not None:
                self._window.succeeded()
            changes = self.workers != UNLIMITED and self._grow(failed, now - started_at)
            self._note_quiet()
        if failed:
            self.wakes()
        return changes or self.is_open

    def _failed(self, now: float) -> None:
        self._window.failed(self.breaker.clock())  # in a simulation, its time
        self._work = self._work._replace(failures=self._work.failures + 1)
        self._open_if_down(now)

    def _open_if_down(self, now: float) -> None:
        if self._window.is_down(self.breaker.clock(), self.circuit.failures):
            self.circuit = opened(self.circuit, self.breaker.clock(), probe_every=self.breaker.probe_every)
            self._probes_from = now
            self._work = self._work._replace(opens=True)

    def _ended_while_open(self, started_at: float, failed: bool | None) -> None:
        if started_at < self._probes_from:  # it started before the circuit was opened
            return
        if failed is None:
            self._has_permit = self.is_probing  # another record has to show it
        elif self.is_probing or not failed:
            self._work = self._work._replace(is_back=not failed)
            self.wakes()

    def _grow(self, failed: bool | None, seconds: float) -> bool:
        """Allow twice as many records in flight after as many have ended; return whether that changes the limit.

        In a new execution environment, this goes on until the first success; after an outage, only successes count.

        Args:
            failed: As for ``ended``.
            seconds: Time that the record took.
        """
        before = self.workers
        if not self._grows_after_success and failed is not None:
            failures = self._window.bits.bit_count()
            first = 2 if seconds >= _SLOW_SECONDS else 1
            self.workers = {1: first, 2: 1}.get(failures, _MOST_FAILING) if failed else UNLIMITED
        elif failed is False or (failed is None and not self._grows_after_success):
            self._ended_in_step += 1
            if self._ended_in_step >= self.workers:
                self.workers, self._ended_in_step = 2 * self.workers, 0
                if self.workers >= _WIDEST:
                    self.workers = UNLIMITED
        return self.workers != before

    def _note_quiet(self) -> None:
        window = self._window
        self.is_quiet = (
            self.circuit.is_closed and self.workers == UNLIMITED and window.count == RESULTS and not window.bits
        )

    # --- For the keeper.

    def _read(self) -> None:
        with self._lock:
            self._work = self._work._replace(reads=True)
        self.wakes()

    def take_work(self) -> Work:
        """Return what has to be done; ``reads`` stays until ``has_read``, because starts wait for it."""
        with self._lock:
            work = self._work
            self._work = NOTHING._replace(reads=True) if work.reads else NOTHING
            return work

    @property
    def has_work(self) -> bool:
        """True if something has to be read or written."""
        return self._work != NOTHING

    def has_read(self) -> None:
        """Note that the circuit was read, or cannot be."""
        with self._lock:
            self._is_read, self._read_at = True, self.breaker.clock()
            self._work = self._work._replace(reads=False)
        self._notify()

    def adopt(self, circuit: Circuit) -> None:
        """Take over a circuit that was read or written."""
        with self._lock:
            was_open, was_probing = self.is_open, self.is_probing
            self.circuit = circuit
            if circuit.is_closed:
                if was_open:
                    self._start_slowly()
                else:
                    self._open_if_down(self._clock())
            elif not was_open or self.is_probing != was_probing:
                self._has_permit = self.is_probing
                self._probes_from = self._clock()
            self._note_quiet()
        self._log(was_probing=was_probing)
        self._notify()

    def forget(self) -> None:
        """Treat messages as without a breaker: something in it failed."""
        with self._lock:
            self.circuit, self.workers, self._work = Circuit(), UNLIMITED, NOTHING
            self._is_read, self._is_logged_open = True, False
            self._window.clear()
        self._notify()

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()

    def _start_slowly(self) -> None:
        self.workers, self._ended_in_step, self._grows_after_success = 1, 0, True
        self._window.clear()
        self._has_permit = False

    def _log(self, *, was_probing: bool) -> None:
        name, was_open = self.breaker.name, self._is_logged_open
        self._is_logged_open = self.is_open
        if self.is_open and not was_open:
            logger.warning(
                "breaker %r is open: its service is down; messages are held until a probe succeeds, next probe in "
                "%.0f s",
                name,
                max(0.0, self.circuit.probe_due - self.breaker.clock()),
            )
        elif self.is_probing and not was_probing:
            logger.info("breaker %r is half-open: one call finds out whether its service is back", name)
        elif was_open and not self.is_open:
            logger.warning(
                "breaker %r is closed: its service is back after %.0f s; %d records were not started here",
                name,
                self.circuit.closed_at - self.circuit.since,
                self.calls_saved - self._saved_before,
            )
            self._saved_before = self.calls_saved


def _nothing() -> None:
    """Do nothing."""
