"""``fanfold runs``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.readable import duration_text
from fanfold._jobs.inline_runs import INCOMPLETE, inline_runs
from fanfold._ports.run import RunState
from fanfold._ports.run_list import RunListPage, RunSummary, page_of
from fanfold.cli import options, run_sources
from fanfold.cli.backend import deployed_backend
from fanfold.errors import ConfigurationError, FanfoldError

_COLOURS: Final[Mapping[str, str]] = {
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "red",
    RunState.RUNNING: "cyan",
    RunState.FOLDING: "cyan",
}


def runs(
    state: str | None = typer.Option(
        None, metavar="STATE", help="Only runs in this state, such as RUNNING or FAILED.", show_default="all states"
    ),
    limit: int = typer.Option(20, min=1, max=1_000, metavar="N", help="Maximum number of runs."),
    after: str | None = typer.Option(None, metavar="RUN", help="Continue the list after this run."),
    inline: bool = typer.Option(False, "--inline", help="List the inline runs in a folder instead."),
    folder: run_sources.Folder = run_sources.FOLDER,
    as_json: options.Json = False,
) -> None:
    """List the runs of the last 30 days, newest first.

    The FANFOLD_… environment variables name the table, as for `fanfold status`; `fanfold env STACK` prints them. The
    list reads an index of the table. A run whose state has just changed may be shown in its former state. A number in
    parentheses is the number of failed segments.

    Exit code 0 even if there are no runs.
    """
    chosen = _state(state, inline=inline)
    page = _inline_page(folder, chosen, limit, after) if inline else anyio.run(_page, chosen, limit, after)
    following = page.runs[-1].id if page.has_more else None
    if as_json:
        print(json.dumps({"runs": [asdict(run) for run in page.runs], "after": following}))
        return
    _show(page.runs)
    if following is not None:
        print(f"More runs: add --after {following}")


def _state(text: str | None, *, inline: bool) -> RunState | str | None:
    if text is None:
        return None
    states = [*RunState, *([INCOMPLETE] if inline else [])]
    if text.upper() not in states:
        raise ConfigurationError(f"--state must be {', '.join(states[:-1])} or {states[-1]}, not {text!r}")
    return text.upper()


async def _page(state: str | None, limit: int, after: str | None) -> RunListPage:
    async with deployed_backend() as backend:
        place = None
        if after is not None:
            run = await backend.ledger.run(after)
            if run is None:
                raise FanfoldError(f"--after: run {after!r} is not in the ledger")
            place = run.created_at, run.id
        return await backend.ledger.runs(state=None if state is None else RunState(state), limit=limit, after=place)


def _inline_page(folder: Path, state: str | None, limit: int, after: str | None) -> RunListPage:
    listed = list(inline_runs(folder))
    places = {run.id: run.place for run in listed}
    if after is not None and after not in places:
        raise FanfoldError(f"--after: {folder} has no run {after!r}")
    return page_of(listed, state=state, limit=limit, after=None if after is None else places[after])


def _show(listed: Sequence[RunSummary]) -> None:
    if not listed:
        print("no runs")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("run", overflow="fold", min_width=min(36, max(len(run.id) for run in listed)))
    table.add_column("job", overflow="fold")
    for title in ("state", "created", "took"):
        table.add_column(title, no_wrap=True)
    for run in listed:
        name = f"{escape(run.id)} [dim](generation {run.gen})[/dim]" if run.gen else escape(run.id)
        failed = f" ({run.failed:,})" if run.failed else ""
        state = f"[{_COLOURS.get(run.state, 'default')}]{run.state}{failed}[/]"
        created = datetime.fromtimestamp(run.created_at, UTC).astimezone().strftime("%m-%d %H:%M")
        took = "" if run.ended_at is None else duration_text(run.ended_at - run.created_at)
        table.add_row(name, escape(run.job), state, created, took)
    Console().print(table)
