"""Handlers that run in worker processes, which import this module."""

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

import fanfold

log = logging.getLogger("process_app")
powertools = Logger(service="orders", name="process_app_powertools")


class UnpicklableError(Exception):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def act(body: dict[str, Any]) -> Any:  # noqa: C901, PLR0911, PLR0912, PLR0915 - a table of what handlers do
    """Do what a message asks for."""
    match body["do"]:
        case "nothing":
            return None
        case "return":
            return body["value"]
        case "return a function":
            return lambda: None
        case "return a coroutine":
            return sleep()
        case "pid":
            return os.getpid()
        case "raise":
            raise ValueError("bad order")
        case "raise unpicklable":
            raise UnpicklableError("one", "two")
        case "retry":
            raise fanfold.Retry(after=7)
        case "reject":
            raise fanfold.Reject("not ours")
        case "exit":
            sys.exit("usage")
        case "interrupt":
            raise KeyboardInterrupt
        case "log":
            log.warning("order %s", body["value"], extra={"shop": body["value"]})
            return None
        case "log with Powertools":
            powertools.warning("order", extra={"shop": body["value"]})
            return None
        case "print":
            print("printed", body["value"])  # noqa: T201 - what it is asked for
            return None
        case "die":
            os._exit(3)
        case "crash":
            signal.raise_signal(signal.SIGSEGV)
        case "read address 0":
            ctypes.string_at(0)
        case "stick":
            re.match("(a+)+$", "a" * 60 + "b")
        case "swallow":
            swallow()
        case "ignore":
            ignore()
        case "finally":
            try:
                time.sleep(60)
            finally:
                Path(body["value"]).write_text("cleaned up")
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "leave a child and die":
            subprocess.Popen(["/bin/sleep", "60"], close_fds=False)
            os._exit(4)
        case "write":
            Path(body["value"]).touch()
            return None
        case "sleep":
            time.sleep(body["value"])
            return None
        case "trace":
            return os.environ.get("_X_AMZN_TRACE_ID")
    return None


async def sleep() -> None: ...


def ignore() -> None:
    """Wait, and return at the first exception."""
    try:
        time.sleep(60)
    except BaseException:  # noqa: BLE001 - on purpose
        return


def swallow() -> None:
    """Ignore every exception."""
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:  # noqa: BLE001, S112 - on purpose
            continue


@fanfold.consumer(processes=2)
def handler(body: dict[str, Any]) -> Any:
    """Do what a message asks for."""
    return act(body)


@fanfold.consumer(processes=1)
def one(body: dict[str, Any]) -> Any:
    """Do what a message asks for, one at a time."""
    return act(body)


@fanfold.consumer(processes=1, reject_on=lambda error: isinstance(error, ValueError))
def rejecting(body: dict[str, Any]) -> Any:
    """Reject every ValueError, by a predicate that cannot be pickled."""
    return act(body)


@fanfold.consumer(processes=1)
def with_context(body: Any, ctx: fanfold.Context[Any]) -> Any:
    """Return what a context holds."""
    return ctx.receive_count, ctx.record.message_id, ctx.lambda_context.aws_request_id, ctx.deadline.remaining() > 0


@fanfold.consumer(processes=1)
def of_record(record: fanfold.Record) -> Any:
    """Return an attribute of the record."""
    return record.attributes["ApproximateReceiveCount"]


@asynccontextmanager
async def lifespan() -> AsyncIterator[dict[str, int]]:
    """Yield a value of this process, and note its end."""
    yield {"pid": os.getpid()}
    if path := os.environ.get("PROCESS_APP_ENDED"):
        open(path, "w").close()  # noqa: ASYNC230, PTH123 - at the end


@fanfold.consumer(processes=1, lifespan=lifespan)
def with_lifespan(body: Any, ctx: fanfold.Context[dict[str, int]]) -> Any:
    """Return the process's value, and its id."""
    return ctx.state["pid"], os.getpid()


def factory(number: int) -> Any:
    """Create a consumer of a local function while this module is imported."""

    @fanfold.consumer(processes=1)
    def local(body: Any) -> int:
        return number

    return local


first, second = factory(1), factory(2)


@fanfold.consumer(processes=4)
def counting(body: dict[str, Any]) -> None:
    """Note in a file, in one write, that a record has run to its end."""
    time.sleep(0.0002)
    with open(body["file"], "ab", buffering=0) as file:  # noqa: PTH123 - one write
        file.write(b"%d\n" % body["number"])
