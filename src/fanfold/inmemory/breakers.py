"""In-memory state of breakers, with the same contract as the table in DynamoDB."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fanfold._ports.breakers import COUNT_SECONDS, Circuit, Held


class InMemoryBreakers:
    """Circuits and pages in dicts. Threads and event loops can share it: no method waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._circuits: dict[str, Circuit] = {}
        self._intervals: dict[str, int] = {}
        """The interval in which the failures of a circuit were counted."""
        self._pages: dict[tuple[str, int], tuple[Held, ...]] = {}

    async def read(self, names: Sequence[str]) -> Sequence[Circuit]:
        """Return the circuits of names, in this order."""
        with self._lock:
            return [self._circuit(name) for name in names]

    async def change(self, name: str, before: Circuit, after: Circuit) -> bool:
        """Replace the state of a circuit, unless it has changed since it was read."""
        with self._lock:
            stored = self._circuit(name)
            if stored.version != before.version:
                return False
            self._circuits[name] = after._replace(
                version=before.version + 1, failures=stored.failures, pages=stored.pages, released=stored.released
            )
            return True

    async def count_failures(self, name: str, failures: int, now: float) -> Circuit:
        """Add failures to those of the current interval; return the circuit after it."""
        interval = int(now // COUNT_SECONDS)
        with self._lock:
            stored = self._circuit(name)
            # Another environment, whose clock is ahead, may have begun the next interval.
            if self._intervals.get(name) in {interval, interval + 1}:
                failures += stored.failures
            else:
                self._intervals[name] = interval
            self._circuits[name] = stored._replace(failures=failures)
            return self._circuits[name]

    async def add_page(self, name: str, held: Sequence[Held], expires_at: float) -> Circuit:  # noqa: ARG002 - never expires
        """Store messages as the next page; return the circuit as it is after that."""
        with self._lock:
            stored = self._circuit(name)
            number = stored.pages + 1
            self._pages[name, number] = tuple(held)
            self._circuits[name] = stored._replace(pages=number)
            return self._circuits[name]

    async def page(self, name: str, number: int) -> Sequence[Held]:
        """Return the messages of a page; empty if it does not exist."""
        with self._lock:
            return self._pages.get((name, number), ())

    async def released(self, name: str, number: int) -> None:
        """Note that the messages of a page, and of all before it, are visible; delete the page."""
        with self._lock:
            stored = self._circuit(name)
            if number <= stored.pages:
                self._pages.pop((name, number), None)
                self._circuits[name] = stored._replace(released=max(number, stored.released))

    def _circuit(self, name: str) -> Circuit:
        return self._circuits.get(name) or Circuit()
