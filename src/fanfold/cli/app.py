"""The commands, and what every command does with an error: one clear line, and an exit code that says it."""

from __future__ import annotations

import sys
from typing import Any

import typer
from rich.console import Console

from fanfold import __version__
from fanfold.cli.demo import demo
from fanfold.cli.run import run as run_job
from fanfold.errors import ConfigurationError, FanfoldError

__all__ = ["run"]

USAGE, FAILURE, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="fanfold",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Fan SQS batches out over a bounded number of concurrent tasks on AWS Lambda, and fold the results in.",
    epilog="Start with:  fanfold demo",
)


def _version(value: Any) -> None:
    if value:
        print(f"fanfold {__version__}")
        raise typer.Exit


@app.callback()
def _fanfold(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),  # noqa: FBT003 - typer's form of a flag
) -> None:
    pass


app.command()(demo)
app.command("run")(run_job)


def run() -> None:
    """Run the command line, and turn every error of ours into one line on stderr."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except ConfigurationError as error:
        errors.print(f"fanfold: {error}", markup=False)
        sys.exit(USAGE)
    except FanfoldError as error:
        errors.print(f"fanfold: {error}", markup=False)
        sys.exit(FAILURE)
    except KeyboardInterrupt:
        errors.print("fanfold: interrupted; nothing is left running")
        sys.exit(INTERRUPTED)
