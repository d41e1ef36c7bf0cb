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
_HELD_SECONDS = 120
"""How long a message is hidden while others are read; then, or at the end, it is there again."""


def capture(
    queue_url: str = typer.Option(..., help="The queue to read, such as a dead-letter queue."),
    output: Path = typer.Option(
        Path("events"), "--output", "--out", help="Folder for the events, ten messages in each file."
    ),
    most: int = typer.Option(100, min=1, max=10_000, help="Messages to save at most."),
    redact: list[str] = typer.Option(
        [], metavar="NAME", help="A field of JSON bodies that is not saved: customer.email"
    ),
    region: options.QueueRegion = None,
) -> None:
    """Save what lies in a queue as events for 'fanfold replay', and delete nothing.

    While it reads, the messages are hidden from others; at the end they are visible again. Each read counts as a
    receive: in a queue with a redrive policy of its own, a message may be moved by it.
    """
    saved = anyio.run(_capture, queue_url, output, most, tuple(redact), region)
    console = Console(stderr=True)
    if saved:
        console.print(f"{saved} messages saved in {output}; replay them with:", markup=False)
        console.print(f"  fanfold replay {output} --handler MODULE:NAME", markup=False)
    else:
        console.print("there is no message in the queue to be saved", markup=False)


async def _capture(queue_url: str, out: Path, most: int, redact: tuple[str, ...], region: str | None) -> int:
    try:
        from fanfold.aws.sqs import open_client, open_queue
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold capture") from error
    async with open_client(region) as client:
        queue = await open_queue(client, queue_url)
        held: dict[str, Record] = {}
        try:
            return await _save(queue, out, most, redact, held)
        finally:
            with anyio.CancelScope(shield=True):
                await _show(queue, list(held.values()))


async def _save(queue: SqsQueue, out: Path, most: int, redact: tuple[str, ...], held: dict[str, Record]) -> int:
    """Save message after message until no new one comes; ``held`` are the last records by message id."""
    stamp, number = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), 0
    while len(held) < most:
        records = await queue.receive_records(max_messages=min(_BATCH, most - len(held)), wait_seconds=1)
        new: list[dict[str, Any]] = [record for record in records if record["messageId"] not in held]
        held.update({record["messageId"]: Record(record) for record in records})
        if not new:
            break
        await queue.change_visibility([(Record(record), _HELD_SECONDS) for record in records])
        with writing(out, "--output "):
            save_event({"Records": new}, out / f"{stamp}-{number:04d}.json", redact=redact)
        number += 1
    return len(held)


async def _show(queue: SqsQueue, records: list[Record]) -> None:
    for first in range(0, len(records), _BATCH):
        await queue.change_visibility([(record, 0) for record in records[first : first + _BATCH]])
