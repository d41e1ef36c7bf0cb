"""Handlers that treat their worker process badly: what they return, raise, log, fork and close."""

import asyncio
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fanfold

BOTH = 2
log = logging.getLogger("odd_process_app")


class UnloadableError(Exception):
    """Can be pickled, but not be rebuilt from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class OddNotesError(Exception):
    """Has notes that are not a list."""

    __notes__: Any = 5


class OddTextError(Exception):
    """Has no text, and cannot be rebuilt from two arguments."""

    def __init__(self, first: str, second: str = "") -> None:
        super().__init__(*[first, second][: 1 + bool(second)])

    def __reduce__(self) -> Any:
        return type(self), (() if len(self.args) > 1 else self.args)

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def raise_(error: BaseException) -> None:
    """Raise an error."""
    raise error


def fork(act: Callable[[], object]) -> int:
    """Do something in a forked process, and return its exit code."""
    if (pid := os.fork()) == 0:
        act()
        raise KeyError
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_return() -> int | None:
    """Return in a forked process, too; return its exit code in this one."""
    if (pid := os.fork()) == 0:
        return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def terminate() -> int | None:
    """Terminate a process, and return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(20)
    return process.exitcode


def log_in_fork() -> None:
    """Log in a forked process, more than a socket holds, and end it."""
    for _ in range(10):
        log.warning("forked %s", "x" * 100_000)
    os._exit(0)


def log_without_end() -> None:
    """Log until the process is ended."""
    while True:
        log.warning("odd")


ACTIONS: dict[str, Callable[[], object]] = {
    "return an error in Done": lambda: fanfold.Done(UnloadableError("one", "two")),
    "return a text as an error": lambda: fanfold.Failed("odd"),  # type: ignore[arg-type] # on purpose
    "raise odd notes": lambda: raise_(OddNotesError("odd")),
    "raise odd text": lambda: raise_(OddTextError("odd")),
    "raise CancelledError": lambda: raise_(asyncio.CancelledError("odd")),
    "log an error": lambda: log.error("odd", extra={"error": UnloadableError("one", "two")}),
    "log an odd error": lambda: log.error("odd", extra={"error": OddTextError("one", "two")}),
    "log wrong arguments": lambda: log.error(*["%d and %s", "one"]),
    "log without end": log_without_end,
    "fork and return": fork_and_return,
    "fork and raise": lambda: fork(lambda: None),
    "fork and exit": lambda: fork(lambda: sys.exit(0)),
    "fork and exit with 3": lambda: fork(lambda: sys.exit(3)),
    "fork and log": lambda: fork(log_in_fork),
    "terminate": terminate,
    "close descriptors": lambda: os.closerange(3, 4096),
    "die": lambda: os._exit(3),
    "wait": lambda: time.sleep(0.1),
    "wait a minute": lambda: time.sleep(60),
    "pid": os.getpid,
    "nothing": lambda: None,
}


@fanfold.consumer(processes=1)
def handler(body: dict[str, Any]) -> Any:
    """Do what a message asks for, and return it."""
    return ACTIONS[body["do"]]()


@fanfold.consumer(processes=1)
def with_context(body: int, ctx: fanfold.Context[None]) -> Any:
    """Return the attributes of the Lambda context."""
    attributes: Any = vars(ctx.lambda_context)
    return {name: value for name, value in attributes.items() if name == "aws_request_id"}


@fanfold.consumer(processes=1)
def starting(body: dict[str, Any]) -> None:
    """Start a process that runs for a minute, note its id, and wait for it."""
    process = subprocess.Popen(["/bin/sleep", "60"])
    Path(body["file"]).write_text(str(process.pid))
    process.wait()


@asynccontextmanager
async def failing_later() -> AsyncIterator[None]:
    """Fail if a file exists."""
    if Path(os.environ["ODD_FILE"]).exists():  # noqa: ASYNC240 - at the start
        raise ConnectionError("refused")
    yield


@fanfold.consumer(processes=2, lifespan=failing_later)
def with_lifespan(body: dict[str, Any]) -> Any:
    """Do what a message asks for."""
    return ACTIONS[body["do"]]()


@asynccontextmanager
async def meeting() -> AsyncIterator[None]:
    """At the end, note it in a directory, and wait for the end of another process."""
    yield
    folder = Path(os.environ["ODD_FILE"])
    (folder / str(os.getpid())).touch()
    while len(os.listdir(folder)) < BOTH:  # noqa: ASYNC110, PTH208 - at the end
        await asyncio.sleep(0.01)


@fanfold.consumer(processes=2, lifespan=meeting)
def ending_together(body: Any) -> int:
    """Return the id of the process."""
    time.sleep(0.1)
    return os.getpid()
