"""The commands, and what every command does with an error: one clear line, and an exit code that says it."""

from __future__ import annotations

import errno
import functools
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn, ParamSpec

import typer
from typer.core import TyperGroup

from fanfold import __version__
from fanfold.errors import ConfigurationError, FanfoldError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130
COMMANDS: Final = {
    "demo": ("demo:demo", "fanfold demo"),
    "init": ("init:init", "fanfold init shop-orders"),
    "local": ("local:local", "fanfold local --job . -- fanfold run app:job"),
    "run": ("run:run", "fanfold run app:job --params '{\"count\": 3}' --dry-run"),
    "env": ("env:env", "fanfold env fanfold-dev"),
    "status": ("status:status_of", "fanfold status r-1 --watch"),
    "redrive": ("status:redrive_run", "fanfold redrive r-1 --dry-run"),
    "results": ("status:results_of", "fanfold results r-1 --output total.json"),
    "replay": ("replay:replay_events", "fanfold replay events/ --handler app:handler"),
    "bench": ("bench:bench", "fanfold bench events/ --handler app:handler --output bench"),
    "bench compare": ("bench_estimate:compare_results", "fanfold bench compare before.json after.json"),
    "bench estimate": ("bench_estimate:estimate", "fanfold bench estimate bench/bench.json --records 1e9"),
    "worker": ("worker:worker", 'fanfold worker --queue-url "$QUEUE_URL" --handler app:handler'),
    "capture": ("capture:capture", 'fanfold capture --queue-url "$DEAD_LETTERS_URL"'),
    "check": ("check:check", "fanfold check template.yaml"),
}
"""By name: the function in ``fanfold.cli``, and an example that its help ends with."""

P = ParamSpec("P")


class Commands(TyperGroup):
    """Imports a command when it is named, so that none pays for the others."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as in the base class
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; one that does not exist has all names to suggest."""
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _command(name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of a command of one or two words, the command, and its arguments."""
        if (words := " ".join(args[:2])) in COMMANDS:
            args = [words, *args[2:]]
        return super().resolve_command(ctx, args)


app: typer.Typer = typer.Typer(
    name="fanfold",
    cls=Commands,
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
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _command(name: str) -> Any:
    target, example = COMMANDS[name]
    module, _, function = target.partition(":")
    command = getattr(import_module(f"fanfold.cli.{module}"), function)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    alone.command(name, help=_prose(command.__doc__), epilog=f"Example:  {example}")(_told(command))
    return typer.main.get_command(alone)


def _prose(text: str | None) -> str:
    """Return a docstring with each paragraph on one line, for a terminal of any width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


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
