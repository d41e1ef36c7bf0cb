"""Contract of a ledger, for the in-memory one and for DynamoDB: failed attempts."""

from dataclasses import replace

from fanfold._ports.ledger import Ledger
from fanfold._ports.run import Attempt, FailedBatch

ATTEMPT = Attempt(7, 1, 2, 3, 1767225600.123, 0.25, "KeyError", "'naïve 日本'", "app.py:12", "request", "stream", 5)


async def batches_of(ledger: Ledger, run: str, gen: int) -> list[FailedBatch]:
    return sorted([batch async for batch in ledger.attempts(run, gen)], key=lambda batch: batch.id)


async def test_failed_attempts_are_read_unchanged(ledger):
    """Fields that are unknown outside Lambda may be missing."""
    local = replace(ATTEMPT, segment=8, place=None, request_id=None, log_stream=None, max_number=None)
    batches = [FailedBatch("a", 1, [ATTEMPT, replace(ATTEMPT, segment=9)]), FailedBatch("b", 1, [local])]
    for batch in [*batches, batches[0]]:  # the second time, it has no effect
        await ledger.put_attempts("run-1", batch)
    assert await batches_of(ledger, "run-1", 1) == batches


async def test_failed_attempts_belong_to_a_run_and_a_generation(ledger):
    """Others are not returned."""
    await ledger.put_attempts("run-1", FailedBatch("a", 1, [ATTEMPT]))
    assert await batches_of(ledger, "run-1", 0) == await batches_of(ledger, "run-2", 1) == []
