"""A batch run on the event loop's own thread, and waited for until its response is due."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fanfold._base.deadline import Deadline
from fanfold._consumer.batch import Batch
from fanfold._consumer.environment import Sandbox
from fanfold._consumer.loop_thread import Runtime

logger = logging.getLogger("fanfold")


def run_batch(runtime: Runtime[Sandbox], begin: Callable[[Sandbox], Batch], deadline: Deadline) -> Batch:
    """Run a batch, and return it when it has ended or the deadline gives up: with what is known of it by then.

    Args:
        runtime: The event loop.
        begin: Makes the batch, on the loop.
        deadline: The invocation's.

    Raises:
        TimeoutError: If the batch could not begin in time; nothing of it has run.
        SystemExit: If so much that was abandoned still runs here that a fresh sandbox is better.
    """
    begun: list[Batch] = []

    async def work(sandbox: Sandbox) -> None:
        batch = begin(sandbox)
        sandbox.begin(batch)
        begun.append(batch)
        await batch.run()

    try:
        runtime.run(work, deadline)
    except TimeoutError as error:
        if not begun:
            raise
        logger.error("%s; the answer is made from what is known by now", error)  # noqa: TRY400 - no traceback
    return begun[0]
