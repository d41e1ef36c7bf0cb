"""``fanfold capture``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import typer
from rich.console import Console

from fanfold._base.record import Record
from fanfold.capture import save_event
from fanfold.cli import options
from fanfold.cli.arguments import writing
from fanfold.errors import MissingExtraError

if TYPE_CHECKING:  # the SDK is an extra, and slow to import
    from fanfold.aws.sqs import SqsQueue

_BATCH = 10
_INVISIBLE_SECONDS = 120
"""Visibility timeout of a message while others are read. At the end, all become visible again."""


def capture(
    queue_url: str = typer.Option(..., metavar="URL", help="The queue to read, such as a dead-letter queue."),
    output: Path = typer.Option(
        Path("events"), "--output", "--out", metavar="FOLDER", help="Folder for the events, ten messages per file."
    ),
    most: int = typer.Option(100, min=1, max=10_000, metavar="N", help="Maximum number of messages to save."),
    redact: list[str] = typer.Option(
        [], metavar="NAME", help="A field of JSON bodies to leave out, such as customer.email. Repeatable."
    ),
    region: options.QueueRegion = None,
) -> None:
    """Save the messages of a queue as events for `fanfold replay`, without deleting them.

    Use it to reproduce failures from a dead-letter queue on your machine. While the command reads, the messages are
    invisible to other consumers; at the end they become visible again. Each read counts as a receive, so a queue with
    a redrive policy may move a message to its dead-letter queue.

    Exit code: 0 even if the queue is empty.
    """
    saved = anyio.run(_capture, queue_url, output, most, tuple(redact), region)
    console = Console(stderr=True)
    if saved:
        console.print(f"{saved} messages saved in {output}; replay them with:", markup=False)
        console.print(f"  fanfold replay {output} --handler MODULE:NAME", markup=False)
    else:
        console.print("no message saved: the queue is empty, or its messages are in flight", markup=False)


async def _capture(queue_url: str, out: Path, most: int, redact: tuple[str, ...], region: str | None) -> int:
    try:
        from fanfold.aws.sqs import open_client, open_queue
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold capture") from error
    async with open_client(region) as client:
        queue = await open_queue(client, queue_url)
        received: dict[str, Record] = {}
        try:
            return await _save(queue, out, most, redact, received)
        finally:
            with anyio.CancelScope(shield=True):
                await _make_visible(queue, list(received.values()))


async def _save(queue: SqsQueue, out: Path, most: int, redact: tuple[str, ...], received: dict[str, Record]) -> int:
    """Save messages until no new one is received. ``received`` collects the latest record of each message id."""
    stamp, number = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), 0
    while len(received) < most:
        records = await queue.receive_records(max_messages=min(_BATCH, most - len(received)), wait_seconds=1)
        new: list[dict[str, Any]] = [record for record in records if record["messageId"] not in received]
        received.update({record["messageId"]: Record(record) for record in records})
        if not new:
            break
        await queue.change_visibility([(Record(record), _INVISIBLE_SECONDS) for record in records])
        with writing(out, "--output "):
            save_event({"Records": new}, out / f"{stamp}-{number:04d}.json", redact=redact)
        number += 1
    return len(received)


async def _make_visible(queue: SqsQueue, records: list[Record]) -> None:
    for first in range(0, len(records), _BATCH):
        await queue.change_visibility([(record, 0) for record in records[first : first + _BATCH]])
