"""One emulated AWS for all processes that share the tests: the first that asks starts it, and stops it at the end."""

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
    """Yield the emulator of this name.

    Args:
        temporary: The temporary folder of this process's tests; with pytest-xdist, its parent is that of all processes.
        name: What the emulators of one test run are distinguished by.
        settings: How ``local_stack`` starts it.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or sys.platform == "win32":
        with local_stack(**settings) as alone:
            yield alone
        return
    import fcntl  # not on Windows

    described = temporary.parent / f"{name}.json"
    with described.with_suffix(".lock").open("a") as users, ExitStack() as started:
        fcntl.flock(users, fcntl.LOCK_EX)
        if described.exists():
            told = json.loads(described.read_text())
            stack = LocalStack(told["endpoint_url"], told["pid"], Path(told["log"]))
        else:
            stack = started.enter_context(local_stack(**settings))
            started.callback(described.unlink)  # who asks from then on starts another
            started.callback(fcntl.flock, users, fcntl.LOCK_EX)  # waits until no other process uses it
            told = {"endpoint_url": stack.endpoint_url, "pid": stack.pid, "log": str(stack.log)}
            described.write_text(json.dumps(told))
        fcntl.flock(users, fcntl.LOCK_SH)  # as long as it is used; the kernel lets go of it if this process dies
        yield stack
