"""Options that several commands share, and what makes those that the help of a command shows under a title."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

Json = Annotated[bool, Option("--json", help="Print one JSON document instead of tables.")]
Run = Annotated[str, Argument(metavar="RUN", help="Name of the run.")]
QueueRegion = Annotated[str | None, Option(help="Region of the queue. (default: the environment's)")]
WatchWithin = Annotated[float, Option(min=1, help="With --watch: seconds to wait.")]
Result = Annotated[Path, Argument(metavar="FILE", help="A result of 'fanfold bench', its JSON.")]


def panel(title: str) -> Callable[..., Any]:
    """Return what declares the options under this title: by their default, their help, their flags, and all else."""

    def option(default: Any, words: str, *flags: str, **rest: Any) -> Any:
        return Option(default, *flags, help=words, rich_help_panel=title, **rest)

    return option
