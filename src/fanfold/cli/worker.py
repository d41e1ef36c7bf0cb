"""``fanfold worker``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import typer

from fanfold._base.import_string import load_decorated
from fanfold._consumer.consumer import Consumer
from fanfold._worker.progress import Summary
from fanfold._worker.worker import Worker
from fanfold.cli import options
from fanfold.cli.arguments import check_writable
from fanfold.errors import MissingExtraError


def worker(
    queue_url: str = typer.Option(..., metavar="URL", help="The queue to poll."),
    handler: str = typer.Option(
        ...,
        metavar="MODULE:NAME",
        help="A fanfold consumer, or what decorators have made of one, imported from the current folder.",
    ),
    concurrency: int | None = typer.Option(
        None,
        min=1,
        metavar="N",
        help="Records to process concurrently. FANFOLD_CONCURRENCY overrides it.",
        show_default="that of the consumer",
    ),
    drain_seconds: float = typer.Option(
        30.0, min=0, metavar="SECONDS", help="Time that running handlers have to finish after SIGTERM or Ctrl-C."
    ),
    health_file: Path | None = typer.Option(
        None,
        metavar="FILE",
        help="A file rewritten every two seconds and removed at the end. If it is older, the worker is stuck.",
    ),
    region: options.QueueRegion = None,
) -> None:
    """Run a consumer outside Lambda.

    Use it for handlers that run longer than 30 minutes, or on machines that you already have. The worker extends the
    visibility timeout of messages in flight and deletes them after success. A failed message is redelivered after its
    backoff. A rejected message is sent to FANFOLD_DEAD_LETTER_QUEUE_URL with the reason. Logs go to stderr.

    Decorators around the consumer, such as those of Powertools, run around each call of the handler, concurrently, and
    get a context with 12 hours left. They must call the consumer once, with the whole batch.

    After SIGTERM or Ctrl-C, the worker receives no more messages and lets running handlers finish. It also lets the
    running ReceiveMessage call end, which takes up to 20 s, and returns to the queue what that call brings. A second
    signal cancels both.

    Exit code: 1 if a handler did not stop after cancellation, or if blocked threads occupy the whole concurrency.
    """
    if health_file is not None:
        check_writable(health_file)
    decorated, loaded = load_decorated(handler, Consumer)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fanfold.worker").setLevel(logging.INFO)  # only its lines; others have one for each message
    chosen = loaded if concurrency is None else loaded.with_settings(concurrency=concurrency)
    work = partial(_work, chosen, None if decorated is loaded else decorated)
    summary = anyio.run(work, queue_url, drain_seconds, health_file, region)
    print(f"stopped: {summary}", file=sys.stderr)


def _on_signals(stop: Callable[[], None]) -> None:
    """Call a function on SIGTERM and Ctrl-C; on Windows, the event loop supports no signal handlers."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


async def _work(
    consumer: Consumer[..., Any],
    decorated: Callable[..., Any] | None,
    queue_url: str,
    drain_seconds: float,
    health_file: Path | None,
    region: str | None,
) -> Summary:
    try:
        from fanfold.aws.renewing import open_renewing_queue
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold worker") from error
    async with open_renewing_queue(
        queue_url, dead_letter_queue_url=consumer.dead_letter_queue_url, region=region
    ) as queue:
        working = Worker(
            consumer, queue, queue, drain_seconds=drain_seconds, health_file=health_file, decorated=decorated
        )
        _on_signals(working.stop)
        summary = await working.run()
    if working.abandoned_handlers:
        # These handlers ignore cancellation, so closing the event loop would wait for them forever.
        print(f"stopped: {summary}", file=sys.stderr, flush=True)
        os._exit(1)
    return summary
