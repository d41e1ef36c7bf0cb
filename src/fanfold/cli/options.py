"""Options that several commands share, and the declaration of options that the help shows under a title."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

Json = Annotated[bool, Option("--json", help="Print one JSON document instead of tables.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask. Without a terminal, the command never asks.")]
Run = Annotated[str, Argument(metavar="RUN", help="Name of the run.")]
QueueRegion = Annotated[
    str | None,
    Option(metavar="REGION", help="AWS Region of the queue.", show_default="from AWS_REGION or the AWS configuration"),
]
WatchWithin = Annotated[float, Option(min=1, metavar="SECONDS", help="Maximum time to wait with --watch.")]
Result = Annotated[Path, Argument(metavar="FILE", help="A JSON result of `fanfold bench`.")]


def panel(title: str) -> Callable[..., Any]:
    """Return a function that declares an option under this title.

    It takes the default, the help, the flags, and any other argument of ``typer.Option``.
    """

    def option(default: Any, text: str, *flags: str, **settings: Any) -> Any:
        return Option(default, *flags, help=text, rich_help_panel=title, **settings)

    return option
