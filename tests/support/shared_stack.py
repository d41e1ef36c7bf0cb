"""One emulated AWS for all processes of a test run: the first process starts it, and stops it at the end."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fanfold._stack.emulator import LocalStack, local_stack


@contextmanager
def shared_stack(temporary: Path, name: str, **settings: Any) -> Iterator[LocalStack]:
    """Yield the emulator with a name; start it if no other process has.

    Args:
        temporary: The temporary folder of this process; with pytest-xdist, its parent is shared by all processes.
        name: Distinguishes the emulators of one test run.
        settings: Arguments of ``local_stack``.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or sys.platform == "win32":
        with local_stack(**settings) as stack:
            yield stack
        return
    import fcntl  # not on Windows

    state_file = temporary.parent / f"{name}.json"
    with (
        state_file.with_suffix(".start").open("a") as starting,
        state_file.with_suffix(".use").open("a") as users,
        ExitStack() as started,
    ):
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # while it is in use; the kernel releases the lock if this process dies
        if state_file.exists():
            state = json.loads(state_file.read_text())
            stack = LocalStack(state["endpoint_url"], state["pid"], Path(state["log"]))
        else:
            stack = started.enter_context(local_stack(**settings))
            started.callback(state_file.unlink)  # a later process starts a new one
            started.callback(fcntl.flock, users, fcntl.LOCK_EX)  # waits until no other process uses it
            state = {"endpoint_url": stack.endpoint_url, "pid": stack.pid, "log": str(stack.log)}
            state_file.write_text(json.dumps(state))
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield stack
