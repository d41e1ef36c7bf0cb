"""``fanfold worker``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import typer

from fanfold._base.import_string import load
from fanfold._consumer.consumer import Consumer
from fanfold._worker.progress import Summary
from fanfold._worker.worker import Worker
from fanfold.cli import options
from fanfold.cli.arguments import check_writable
from fanfold.errors import MissingExtraError


def worker(
    queue_url: str = typer.Option(..., help="The queue to work on."),
    handler: str = typer.Option(..., metavar="MODULE:NAME", help="A fanfold consumer; found in the current folder."),
    concurrency: int | None = typer.Option(
        None, min=1, help="Records in hand at once. FANFOLD_CONCURRENCY overrides it. (default: the consumer's)"
    ),
    drain_seconds: float = typer.Option(30.0, min=0, help="Seconds running handlers get after SIGTERM or Ctrl-C."),
    health_file: Path | None = typer.Option(
        None, help="Rewritten every two seconds, removed at the end; an old one means a worker that hangs."
    ),
    region: options.QueueRegion = None,
) -> None:
    """Run a consumer outside Lambda: for work that takes over 15 minutes, or machines that are there anyway.

    Messages stay hidden as long as they are worked on, and are deleted once they are done; what did not succeed comes
    back after its back-off; what is rejected goes to FANFOLD_DEAD_LETTER_QUEUE_URL with the reason. Log lines go to
    stderr. SIGTERM or Ctrl-C: nothing more is received, what runs may end; a second one cancels it. Exit code 1 if
    a handler did not end even then, or if handlers that hang on their threads hold every place.
    """
    if health_file is not None:
        check_writable(health_file)
    loaded: Consumer[..., Any] = load(handler, Consumer)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fanfold.worker").setLevel(logging.INFO)  # and not a line for each message
    chosen = loaded if concurrency is None else loaded.with_settings(concurrency=concurrency)
    summary = anyio.run(_work, chosen, queue_url, drain_seconds, health_file, region)
    print(f"stopped: {summary.done} done, {summary.failed} come back", file=sys.stderr)


async def _work(
    consumer: Consumer[..., Any], queue_url: str, drain_seconds: float, health_file: Path | None, region: str | None
) -> Summary:
    try:
        from fanfold.aws.sqs import open_client, open_queue
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold worker") from error
    async with open_client(region) as client:
        queue = await open_queue(client, queue_url, dead_letter_queue_url=consumer.dead_letter_queue_url)
        working = Worker(consumer, queue, queue, drain_seconds=drain_seconds, health_file=health_file)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, working.stop)
        summary = await working.run()
    if working.abandoned_handlers:
        # The end of the event loop would wait for these for ever: they do not mind being cancelled.
        print(f"stopped: {summary.done} done, {summary.failed} come back", file=sys.stderr, flush=True)
        os._exit(1)
    return summary
