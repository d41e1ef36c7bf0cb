"""``fanfold redrive --from``: send the messages of a dead-letter queue back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

import anyio
from rich.console import Console
from rich.markup import escape
from rich.progress import TimeElapsedColumn
from rich.table import Table

from fanfold._base.readable import printable
from fanfold._dead_letters.letters import Choice, Letter, ReasonGroup, grouped
from fanfold._dead_letters.routes import check_before_reading, routes_of
from fanfold._dead_letters.send_back import SentBack, look, send_back
from fanfold.cli.confirm import confirm
from fanfold.cli.show import counted, progress_bar
from fanfold.errors import FanfoldError, MissingExtraError

if TYPE_CHECKING:  # the SDK is an extra, and slow to import
    from fanfold.aws.dead_letters import DeadLetterQueues
    from fanfold.aws.sqs import SqsQueue

_MAX_SHOWN = 20
_MAX_REASON = 200
_SLACK = 100
"""Messages that are read although the approximate count of the queue does not contain them."""


class Request(NamedTuple):
    """The options of the command."""

    source: str
    """The dead-letter queue."""
    target: str | None
    """Queue to send to; None for the source queues."""
    choice: Choice
    """The messages to send."""
    rate: float
    """Maximum number of messages per second."""
    region: str | None
    """Region of the queue; None for the SDK's."""
    dry_run: bool
    """True to send nothing."""
    yes: bool
    """True to ask nothing."""
    as_json: bool
    """True to print one JSON document."""


def redrive_dead_letters(request: Request) -> None:
    """Show the reasons, ask, and send the chosen messages back.

    Raises:
        ConfigurationError: If a queue cannot be used.
        FanfoldError: If no message is chosen, or some could not be sent or deleted.
    """
    anyio.run(_redrive, request)


async def _redrive(request: Request) -> None:
    try:
        from fanfold.aws.dead_letters import open_dead_letters
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold redrive --from") from error
    async with open_dead_letters(request.source, request.region) as queues:
        sources = await queues.sources()
        check_before_reading(queues.queue.arn, sources, has_policy=await queues.has_policy())
        count = await queues.queue.count()
        most = count * 11 // 10 + _SLACK
        letters = await look(queues.queue, most)
        unread = _unread(count, letters, queues.queue.arn)
        name = queues.queue.arn.rpartition(":")[2]
        groups, chosen = grouped(letters, request.choice), list(filter(request.choice.chooses, letters))
        _check(letters, chosen, name, request.choice, unread)
        targets = await _targets(chosen, queues, sources, request.target)
        if not request.as_json:
            _show(groups, targets, f"{name}: {counted(len(letters), 'message')}", unread)
        if request.dry_run:
            _report(groups, targets, SentBack(), len(chosen), request)
            return
        to = ", ".join(sorted({target.arn.rpartition(":")[2] for target in targets.values()}))
        more = " and those behind them" if unread else ""
        confirm(f"Send {len(chosen):,} of {counted(len(letters), 'message')}{more} to {to}?", yes=request.yes)
        sent_back = await _send(queues, targets, len(chosen), most, request)
    _report(groups, targets, sent_back, len(chosen), request)
    _raise_unless_complete(sent_back)


def _unread(count: int, letters: Sequence[Letter], arn: str) -> str:
    """Return how many messages of a FIFO queue could not be read; empty if there are none."""
    if (behind := count - len(letters)) <= 0 or not arn.endswith(".fifo"):
        return ""
    return f"about {counted(behind, 'message')} behind these in their message groups can be read after these are sent"


def _check(letters: Sequence[Letter], chosen: Sequence[Letter], name: str, choice: Choice, unread: str) -> None:
    if not letters:
        raise FanfoldError(f"queue {name} has no visible messages: there is nothing to redrive")
    if missing := choice.missing(letters):
        raise FanfoldError(f"queue {name} has no message {missing[0]}; {unread or 'nothing was moved'}")
    if not chosen:
        why = f"has {choice.where!r} in its reason; {unread or 'nothing was moved'}"
        raise FanfoldError(f"no message of queue {name} {why}")


async def _targets(
    letters: Sequence[Letter], queues: DeadLetterQueues, sources: Sequence[str] | None, chosen: str | None
) -> Mapping[str | None, SqsQueue]:
    """Return the queue to send to, for each source that messages name."""
    target = None if chosen is None else await queues.open(chosen)
    routes = routes_of(letters, queues.queue.arn, sources, None if target is None else target.arn)
    opened = {arn: target or await queues.open(arn) for arn in dict.fromkeys(routes.values())}
    return {source: opened[arn] for source, arn in routes.items()}


async def _send(
    queues: DeadLetterQueues, targets: Mapping[str | None, SqsQueue], chosen: int, most: int, request: Request
) -> SentBack:
    sent_back, first = SentBack(), next(iter(targets.values()))
    # A message that arrives meanwhile may name a queue that the user has not seen.
    sources = frozenset(targets) if request.target is None else None
    with progress_bar("messages sent back", chosen, TimeElapsedColumn()) as update:
        try:
            await send_back(
                queues.queue,
                lambda letter: targets.get(letter.source, first),
                replace(request.choice, sources=sources),
                rate=request.rate,
                most=most,
                sent_back=sent_back,
                progress=lambda sent: update(completed=sent),
            )
        except FanfoldError as error:
            raise FanfoldError(
                f"{counted(sent_back.sent, 'message')} sent back, then: {error}. Run the command again to continue"
            ) from error
    return sent_back


def _raise_unless_complete(sent_back: SentBack) -> None:
    if sent_back.refused:
        letter, reason = next(iter(sent_back.refused.items()))
        raise FanfoldError(
            f"{counted(len(sent_back.refused), 'message')} could not be sent and stay in the queue; the first is "
            f"{letter}: {reason}"
        )
    if sent_back.not_deleted:
        raise FanfoldError(
            f"{counted(sent_back.not_deleted, 'message')} were sent back but could not be deleted; delete them, or "
            "they are sent again"
        )


def _report(
    groups: Sequence[ReasonGroup],
    targets: Mapping[str | None, SqsQueue],
    sent_back: SentBack,
    chosen: int,
    request: Request,
) -> None:
    if request.as_json:
        listed = [
            {**asdict(group), "to": targets[group.source].url if group.source in targets else None} for group in groups
        ]
        print(json.dumps({"groups": listed, "chosen": chosen, **asdict(sent_back)}))
    elif request.dry_run:
        print(f"would send {counted(chosen, 'message')}; nothing was moved")
    else:
        failed = f"; {sent_back.failed_again:,} have failed again and stay" if sent_back.failed_again else ""
        print(f"{counted(sent_back.sent, 'message')} sent back{failed}")


def _show(groups: Sequence[ReasonGroup], targets: Mapping[str | None, SqsQueue], title: str, unread: str) -> None:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("messages", justify="right")
    table.add_column("chosen", justify="right")
    table.add_column("reason", ratio=1)
    table.add_column("to", overflow="fold")
    for group in groups[:_MAX_SHOWN]:
        to = targets[group.source].arn.rpartition(":")[2] if group.chosen else ""
        table.add_row(
            f"{group.count:,}", f"{group.chosen:,}", escape(printable(group.reason[:_MAX_REASON])), escape(to)
        )
    console = Console(stderr=True)
    console.print(table)
    if (more := len(groups) - _MAX_SHOWN) > 0:
        console.print(f"and {counted(more, 'more reason')}; --json lists them")
    if unread:
        console.print(unread)
