"""``fanfold cancel``."""

from __future__ import annotations

import json
import sys
from typing import Final

import anyio

from fanfold._jobs.cancel import cancel, cancellable
from fanfold._ports.run import Counter, Run, RunState
from fanfold.cli import options
from fanfold.cli.backend import deployed_backend
from fanfold.cli.confirm import confirm
from fanfold.cli.show import about

_EFFECT: Final = (
    "Queued segments will be acknowledged without work; running handlers will end;\nno output will be committed."
)


def cancel_run(run: options.Run, yes: options.Yes = False, as_json: options.Json = False) -> None:
    """Cancel a run that has not ended.

    Queued segments are then acknowledged without work, and the scatter stops. Handlers that are running end; their
    results are kept. No output is committed. `fanfold redrive RUN` continues the run later: it processes the segments
    that have not ended.

    The command shows what it will do, and asks. If it is interrupted, run it again. On Step Functions, the execution
    continues without work and then fails.

    Exit code 0 only if the run is cancelled.
    """
    current, counter = anyio.run(_read, run)
    if current.state != RunState.CANCELLED:
        if not as_json:
            print(_EFFECT, file=sys.stderr)
        confirm(f"Cancel run {run} of {current.job} ({current.state}, {_ended(counter)})?", yes=yes)
    cancelled = anyio.run(_cancel, current)
    if as_json:
        print(json.dumps(about(cancelled)))
    elif current.state == RunState.CANCELLED:
        print(f"run {run} is already cancelled. Run `fanfold redrive {run}` to continue it")
    else:
        print(f"run {run} is cancelled; {_ended(counter)}. Run `fanfold redrive {run}` to continue it")


async def _read(run_id: str) -> tuple[Run, Counter]:
    async with deployed_backend() as backend:
        return await cancellable(run_id, backend), await backend.ledger.counter(run_id)


async def _cancel(run: Run) -> Run:
    async with deployed_backend() as backend:
        await cancel(run, backend)
        return await cancellable(run.id, backend)


def _ended(counter: Counter) -> str:
    if counter.total is None:
        return f"{counter.ended:,} segments ended so far"
    return f"{min(counter.ended, counter.total):,} of {counter.total:,} segments ended"
