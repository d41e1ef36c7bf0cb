"""Workers killed during a batch, and messages sent twice: exactly one correct output is committed."""

from pathlib import Path

import pytest

from depth import by_depth
from trials.kills import deployed, kill_trials

TRIALS = by_depth(2, 5)
"""Concurrent runs. For more: ``python benchmarks/chaos.py --stack --trials 50``."""


# Slow: workers are killed in the middle of batches, whose messages return after the visibility timeout.
@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="workers are found by their command lines in /proc")
async def test_workers_killed_at_random_points_and_messages_sent_twice_leave_one_exact_output():
    """SIGKILL during batches of concurrent runs; the workers of the folds are killed too."""
    with deployed() as job:
        hits = await kill_trials(job, TRIALS, seed=2013)
    assert [hit.problems for hit in hits] == [[]] * TRIALS
    assert all(hit.killed and hit.duplicates for hit in hits)
