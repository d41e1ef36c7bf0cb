"""Cancel a run: one write in the ledger, which every step of the run reads.

- A scatter learns it at its next checkpoint, at the latest after 1,000 segments, and stops.
- A queued segment is acknowledged without work: its batch reads the run anyway.
- A handler that is running ends. If its segment is done, it is recorded, so that a redrive does not repeat it.
- A fold cannot be claimed any more, and one that is running cannot write the end of the run.

A cancelled run can be redriven; see ``fanfold._jobs.redrive``.
"""

from __future__ import annotations

from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run, RunState
from fanfold.errors import FanfoldError


async def cancellable(run_id: str, backend: Backend) -> Run:
    """Return a run that can be cancelled, or is cancelled already.

    Raises:
        FanfoldError: If the run is not in the ledger, or has ended.
    """
    run = await backend.ledger.run(run_id)
    if run is None:
        raise FanfoldError(f"run {run_id!r} is not in the ledger: check its name with `fanfold runs`")
    if run.ended and run.state != RunState.CANCELLED:
        raise FanfoldError(f"run {run_id} has ended as {run.state}: there is nothing to cancel")
    return run


async def cancel(run: Run, backend: Backend) -> None:
    """Cancel the generation of a run that ``cancellable`` has returned, and request the notification of its end.

    If it is interrupted, a second call continues it.

    Raises:
        FanfoldError: If the run has ended or has been redriven meanwhile, or a service fails.
    """
    if not await backend.ledger.cancel(run.id, gen=run.gen, ended_at=backend.now()):
        current = await cancellable(run.id, backend)
        raise FanfoldError(f"run {run.id} has just been redriven and is {current.state}: cancel it again to stop that")
    await send_request(backend, CheckRun(run.id))
