"""Worker processes that die at any moment: no record is acknowledged that has not run to its end."""

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import fanfold
import process_app
from fanfold._consumer.process_pool import ProcessPool
from fanfold.testing import make_context, make_event


class Killer:
    """Sends SIGKILL or SIGSEGV to a worker process, chosen at random, each time a record has ended in a batch.

    Args:
        pool: The processes.
        kills: Number of signals.
        seed: Seed of the choices.
    """

    def __init__(self, pool: ProcessPool, kills: int, seed: int) -> None:
        self.sent = 0
        self._pool = pool
        self._kills = kills
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Send no more signals."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while self.sent < self._kills and not self._stopped.wait(self._random.uniform(0.03, 0.15)):
            pid = self._random.choice(self._pool.pids or [0])
            if pid:
                try:
                    os.kill(pid, self._random.choice([signal.SIGKILL, signal.SIGSEGV]))
                except ProcessLookupError:
                    continue
                self.sent += 1


def pool_of(consumer: Any) -> ProcessPool:
    """Return the processes of a consumer that has processed a batch."""
    pool = consumer._runtime._loop.state.result().pool
    assert isinstance(pool, ProcessPool)
    return pool


def kill_at_random(folder: Path, *, records: int, kills: int, seed: int) -> tuple[int, int]:
    """Process records while processes are killed; return the number of failures, and of signals.

    Raises:
        AssertionError: If a record is acknowledged that has not run to its end, or has run twice.
    """
    consumer = process_app.counting.with_settings()
    ended = folder / "ended"
    consumer(make_event({"number": -1, "file": str(ended)}), make_context(60))
    killer = Killer(pool_of(consumer), kills, seed)
    failed = 0
    done: list[int] = []
    for first in range(0, records, 500):
        event = make_event(*({"number": first + i, "file": str(ended)} for i in range(500)))
        for number, outcome in enumerate(consumer.invoke(event, make_context(60)).outcomes):
            if isinstance(outcome, fanfold.Done):
                done.append(first + number)
            else:
                failed += 1
    killer.stop()
    consumer.close()
    ran = Counter(map(int, ended.read_text().split()))
    assert [number for number in done if ran[number] != 1] == []
    return failed, killer.sent


def test_no_record_is_acknowledged_that_has_not_run_to_its_end_whenever_processes_die(tmp_path):
    """SIGKILL and SIGSEGV reach processes that run, start, or wait."""
    failed, kills = kill_at_random(tmp_path, records=4_000, kills=10, seed=1)
    assert kills > 0
    assert failed <= kills  # a death fails no more than the record that ran
