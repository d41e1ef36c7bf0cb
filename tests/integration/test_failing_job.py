"""A deployed job whose every segment fails: the reason is in the ledger long before the queue gives up."""

from pathlib import Path

import pytest

from deployment import Deployment
from fanfold._jobs.run_details import read_details
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect

pytestmark = pytest.mark.stack

JOB = Path(__file__).parent / "failing_job"


async def test_the_reason_is_in_the_ledger_at_the_first_failure(stack: LocalStack):
    """With its place, the attempt, and where its log is, while the run is RUNNING and nothing has ended."""
    deployed = Deployment(stack, "failing", JOB, {"FunctionTimeout": "60"})
    deployed.scatter("run")
    async with connect(deployed.variables, **deployed.client_settings) as backend:
        while True:
            run = await backend.ledger.run("run")
            assert run is not None
            details = await read_details(run, backend)
            if details.failing == 6:
                break
            await backend.sleep(0.1)
    assert (run.state, details.done, details.failed, details.failed_attempts) == ("RUNNING", 0, 0, 6)
    (group,) = details.failing_now
    assert (group.error, group.message, group.place) == ("KeyError", "'carrier'", "app.py:13")
    assert (list(group.segments), group.highest_attempt, group.max_attempts) == (list(range(6)), 1, 5)
    for attempt in details.attempts():
        assert attempt.request_id
        assert attempt.log_stream
        assert run.created_at < attempt.began_at < details.now
