"""A worker process on a queue of the emulated AWS, and its effects."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APP = """
    import asyncio, os
    import fanfold

    @fanfold.consumer(concurrency=20, backoff=fanfold.Backoff(base=1, factor=1, jitter=0))
    async def handler(order: dict, ctx: fanfold.Context) -> None:
        while order.get("do") == "swallow":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass
        if order.get("do") == "wait":
            while not os.path.exists("go"):
                await asyncio.sleep(0.02)
        if order.get("do") == "interrupt":
            raise KeyboardInterrupt
        await asyncio.sleep(order.get("seconds", 0.02))
        if order.get("do") == "reject":
            raise fanfold.Reject("no such customer")
        if order.get("do") == "fail" and ctx.receive_count == 1:
            raise ValueError("once")
        with open("effects", "a") as effects:
            effects.write(f"{order['number']}\\n")
"""


def wait_for(holds: Callable[[], Any], seconds: float = 600.0) -> None:
    """Poll until a condition is met; fail after a timeout."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{holds} did not hold within {seconds} s")
        time.sleep(0.02)


@contextmanager
def worker(
    folder: Path, url: str, *arguments: str, app: str = APP, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process in a folder; kill it at the end if it is still running."""
    (folder / "app.py").write_text(textwrap.dedent(app), encoding="utf-8")
    command = [sys.executable, "-m", "fanfold", "worker", "--queue-url", url, "--handler", "app:handler", *arguments]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log, env={**os.environ, **variables})  # noqa: S603 - our own program
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[bytes], folder: Path) -> int:
    """Stop an idle worker, cancel its poll with a second SIGTERM, and return the exit code."""
    lines = len((folder / "log").read_text().splitlines())
    process.send_signal(signal.SIGTERM)
    wait_for(
        lambda: (
            process.poll() is not None
            or any("stopping; " in line for line in (folder / "log").read_text().splitlines()[lines:])
        )
    )
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=300)


def effects(folder: Path) -> Counter[int]:
    """Return the number of effects of each order."""
    file = folder / "effects"
    return Counter(int(line) for line in file.read_text().split()) if file.is_file() else Counter()


def in_queue(sqs: Any, url: str) -> int:
    """Return the approximate number of messages in a queue, including those in flight and delayed."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOf"))


def send(sqs: Any, url: str, bodies: list[str]) -> None:
    """Send bodies in batches of ten."""
    for first in range(0, len(bodies), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[first : first + 10])]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)


def trial(sqs: Any, url: str, folder: Path, chance: random.Random, orders: int) -> Counter[int]:
    """Kill two workers at random moments with SIGTERM and SIGKILL, let a third one finish, and return the effects."""
    for _ in range(2):
        done = sum(effects(folder).values())
        target = done + chance.randrange(1, orders // 3)
        with worker(folder, url, "--drain-seconds", "0.05") as process:
            wait_for(
                lambda target=target: sum(effects(folder).values()) >= min(target, orders) or in_queue(sqs, url) == 0
            )
            process.send_signal(signal.SIGTERM)
            time.sleep(chance.random() * 0.1)
            process.kill()
    with worker(folder, url, "--health-file", "health.json") as process:
        try:
            # Wait until the worker runs: the queue may be empty already, and a signal during the imports would kill it.
            wait_for((folder / "health.json").is_file)
            wait_for(lambda: in_queue(sqs, url) == 0)
        except AssertionError as error:
            raise AssertionError(
                f"{in_queue(sqs, url)} messages are left; {(folder / 'log').read_text()[-5000:]}"
            ) from error
        if stop(process, folder):
            raise AssertionError((folder / "log").read_text()[-5000:])
    return effects(folder)
