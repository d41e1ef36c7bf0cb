"""The work of the handlers that ``processes.py`` measures."""

import sys
import time

COMPUTE_SECONDS = 0.02


def compute(seconds: float = COMPUTE_SECONDS) -> int:
    """Compute in pure Python for some processor time."""
    until, total = time.thread_time() + seconds, 0
    while time.thread_time() < until:
        total += sum(number * number for number in range(100))
    return total


def compute_lines() -> None:
    """Compute for each line of the standard input: a bare process."""
    for _ in sys.stdin:
        compute()
        print("done", flush=True)
