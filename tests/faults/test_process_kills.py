"""Worker processes that die at any moment: no record is acknowledged that has not run to its end."""

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import fanfold
import process_app
from fanfold._base.operating_system import open_descriptors
from fanfold._consumer.process_pool import ProcessPool
from fanfold.testing import make_context, make_event

_LINE_BYTES = 5
"""Size of a line of the file in which records note that they have run, on average of the first 20,000."""


class Killer:
    """Sends SIGKILL or SIGSEGV to a worker process, chosen at random, each time some records have run.

    Args:
        pool: The processes.
        ended: The file in which records note that they have run to their end.
        kills: Number of signals.
        records: Number of records from one signal to the next, on average.
        seed: Seed of the choices.
    """

    def __init__(self, pool: ProcessPool, ended: Path, *, kills: int, records: int, seed: int) -> None:
        self.sent = 0
        self._pool = pool
        self._ended = ended
        self._kills = kills
        self._records = records
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Send no more signals."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        next_at = 0.0
        while self.sent < self._kills and not self._stopped.wait(0.002):
            if self._ended.stat().st_size < next_at:
                continue
            try:
                os.kill(self._random.choice(self._pool.pids), self._random.choice([signal.SIGKILL, signal.SIGSEGV]))
            except ProcessLookupError:
                continue
            self.sent += 1
            next_at = self._ended.stat().st_size + self._random.uniform(0, 2) * self._records * _LINE_BYTES


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
    body = {"file": str(ended)}
    consumer(make_event({**body, "number": -1}), make_context(60))
    descriptors = open_descriptors()
    killer = Killer(pool_of(consumer), ended, kills=kills, records=records // kills, seed=seed)
    failed = 0
    done: list[int] = []
    for first in range(0, records, 500):
        event = make_event(*({**body, "number": first + i} for i in range(500)))
        for number, outcome in enumerate(consumer.invoke(event, make_context(60)).outcomes):
            if isinstance(outcome, fanfold.Done):
                done.append(first + number)
            else:
                failed += 1
    killer.stop()
    pids = pool_of(consumer).pids
    consumer.close()
    assert open_descriptors() <= descriptors
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    ran = Counter(map(int, ended.read_text().split()))
    assert [number for number in done if ran[number] != 1] == []
    return failed, killer.sent


def test_no_record_is_acknowledged_that_has_not_run_to_its_end_whenever_processes_die(tmp_path):
    """SIGKILL and SIGSEGV reach processes that run, start, or wait."""
    failed, kills = kill_at_random(tmp_path, records=4_000, kills=10, seed=1)
    assert kills > 0
    assert failed <= kills  # a death fails no more than the record that ran


@pytest.mark.deep
def test_no_record_of_20_000_is_acknowledged_that_has_not_run_to_its_end_after_200_deaths(tmp_path):
    """About one death in each 100 records."""
    failed, kills = kill_at_random(tmp_path, records=20_000, kills=200, seed=2)
    assert kills > 150
    assert failed <= kills
