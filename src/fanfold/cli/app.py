"""The commands, and what every command does with an error: one clear line, and an exit code that says it."""

from __future__ import annotations

import errno
import functools
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec

import typer

from fanfold import __version__
from fanfold.cli.bench import bench
from fanfold.cli.capture import capture
from fanfold.cli.check import check
from fanfold.cli.demo import demo
from fanfold.cli.env import env
from fanfold.cli.init import init
from fanfold.cli.local import local
from fanfold.cli.replay import replay_events
from fanfold.cli.run import run as run_job
from fanfold.cli.status import redrive_run, results_of, status_of
from fanfold.cli.worker import worker
from fanfold.errors import ConfigurationError, FanfoldError

__all__ = ["run"]

USAGE, FAILURE, INTERRUPTED = 2, 1, 130

P = ParamSpec("P")

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
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def _told(command: Callable[P, None]) -> Callable[P, None]:
    """Turn every error of ours in a command into one line on stderr and an exit code."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: what was started is stopped
        try:
            command(*args, **kwargs)
        except ConfigurationError as error:
            _fail(str(error), USAGE)
        except FanfoldError as error:
            _fail(str(error), FAILURE)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _fail("there is no space left to write to", FAILURE)
        except KeyboardInterrupt:
            _fail("interrupted; nothing is left running on this machine", INTERRUPTED)

    return told


def _fail(line: str, code: int) -> NoReturn:
    print("fanfold:", " ".join(line.split()), file=sys.stderr)
    raise typer.Exit(code)


_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("demo", demo, "fanfold demo"),
    ("init", init, "fanfold init shop-orders"),
    ("local", local, "fanfold local --job . -- fanfold run app:job"),
    ("run", run_job, "fanfold run app:job --params '{\"count\": 3}' --dry-run"),
    ("env", env, "fanfold env fanfold-dev"),
    ("status", status_of, "fanfold status r-1 --watch"),
    ("redrive", redrive_run, "fanfold redrive r-1 --dry-run"),
    ("results", results_of, "fanfold results r-1 --output total.json"),
    ("replay", replay_events, "fanfold replay events/ --handler app:handler"),
    ("bench", bench, "fanfold bench events/ --handler app:handler --output bench"),
    ("worker", worker, 'fanfold worker --queue-url "$QUEUE_URL" --handler app:handler'),
    ("capture", capture, 'fanfold capture --queue-url "$DEAD_LETTERS_URL"'),
    ("check", check, "fanfold check template.yaml"),
)
"""Name, what it does, and an example that its help ends with."""


def _prose(text: str | None) -> str:
    """Return a docstring with each paragraph on one line, for a terminal of any width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


for _name, _command, _example in _COMMANDS:
    app.command(_name, help=_prose(_command.__doc__), epilog=f"Example:  {_example}")(_told(_command))


def run() -> None:
    """Run the command line."""
    app()
