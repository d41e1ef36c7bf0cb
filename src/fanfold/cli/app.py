"""The commands, and how each reports an error: one line on stderr and an exit code."""

from __future__ import annotations

import errno
import functools
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, NamedTuple, NoReturn, ParamSpec

import typer
from typer.core import TyperGroup

from fanfold import __version__
from fanfold._base.readable import printable
from fanfold.cli.help import HelpfulCommand, show_help
from fanfold.cli.usage_errors import UsageError, usage_line
from fanfold.errors import ConfigurationError, EventError, FanfoldError

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


class Entry(NamedTuple):
    """A command."""

    group: str
    """The title it is listed under."""
    target: str
    """Module and function in ``fanfold.cli``."""
    example: str
    """A complete command line, which its help ends with."""


COMMANDS: Final = {
    "demo": Entry("Commands: get started", "demo:demo", "fanfold demo"),
    "init": Entry("Commands: get started", "init:init", "fanfold init shop-orders"),
    "local": Entry("Commands: get started", "local:local", "fanfold local --job . -- fanfold run app:job"),
    "replay": Entry("Commands: handlers", "replay:replay_events", "fanfold replay events/ --handler app:handler"),
    "bench": Entry("Commands: handlers", "bench:bench", "fanfold bench events/ --handler app:handler --output bench"),
    "bench compare": Entry(
        "Commands: handlers", "bench_estimate:compare_results", "fanfold bench compare before.json after.json"
    ),
    "bench estimate": Entry(
        "Commands: handlers", "bench_estimate:estimate", "fanfold bench estimate bench/bench.json --records 1e9"
    ),
    "worker": Entry(
        "Commands: handlers", "worker:worker", 'fanfold worker --queue-url "$QUEUE_URL" --handler app:handler'
    ),
    "capture": Entry("Commands: handlers", "capture:capture", 'fanfold capture --queue-url "$DEAD_LETTER_QUEUE_URL"'),
    "breaker status": Entry("Commands: handlers", "breaker:status", "fanfold breaker status payments"),
    "breaker open": Entry("Commands: handlers", "breaker:open_breaker", "fanfold breaker open payments"),
    "breaker close": Entry("Commands: handlers", "breaker:close_breaker", "fanfold breaker close payments"),
    "check": Entry("Commands: handlers", "check:check", "fanfold check template.yaml"),
    "run": Entry("Commands: jobs", "run:run", "fanfold run app:job --params '{\"count\": 3}' --dry-run"),
    "env": Entry("Commands: jobs", "env:env", "fanfold env fanfold-dev"),
    "status": Entry("Commands: jobs", "status:status_of", "fanfold status r-1 --watch"),
    "report": Entry("Commands: jobs", "report:report_of", "fanfold report r-1 --output run.html"),
    "logs": Entry("Commands: jobs", "logs:logs_of", "fanfold logs r-1 --failed"),
    "runs": Entry("Commands: jobs", "runs:runs", "fanfold runs --state FAILED"),
    "cancel": Entry("Commands: jobs", "cancel:cancel_run", "fanfold cancel r-1"),
    "redrive": Entry("Commands: jobs", "redrive:redrive_command", "fanfold redrive r-1 --dry-run"),
    "results": Entry("Commands: jobs", "status:results_of", "fanfold results r-1 --output total.json"),
}
"""By name, in the order of ``fanfold --help``."""

P = ParamSpec("P")


class Commands(TyperGroup):
    """The command ``fanfold``. It imports a command's module only when that command is named."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as in the base class
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command. For an unknown name, load all commands, so that the error can suggest one."""
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                self.commands[name] = _command(name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of a command, the command, and its arguments; a name can have two parts."""
        if (two_parts := " ".join(args[:2])) in COMMANDS:
            args = [two_parts, *args[2:]]
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as in the base class
        """Print the help."""
        rows = [
            (entry.group, name, (self.get_command(ctx, name).help or "").partition("\n")[0])
            for name, entry in COMMANDS.items()
        ]
        show_help(self, ctx, rows)

    def main(  # type: ignore[override] # passes any other argument on
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **settings: Any
    ) -> Any:
        """Run the command line. A usage error is one line on stderr, with exit code 2."""
        arguments = sys.argv[1:] if args is None else list(args)
        if (names := _of_group(arguments)) and arguments[1:] in ([], ["--help"]):
            self._show_group(names)
            sys.exit(0 if arguments[1:] else USAGE)
        try:
            code = super().main(arguments, prog_name or "fanfold", **{**settings, "standalone_mode": False})
        except UsageError as error:
            if type(error).__name__ != "NoArgsIsHelpError":  # which has printed the help
                names = [name for name in (" ".join(arguments[:2]), *arguments[:1]) if name in COMMANDS]
                command = " ".join(["fanfold", *names[:1]])
                print("fanfold:", " ".join(usage_line(error, command, arguments).split()), file=sys.stderr)
            code = USAGE
        sys.exit(code or 0)

    def _show_group(self, names: Sequence[str]) -> None:
        """Print the commands whose names have the same first part."""
        lines = {name: (self.get_command(None, name).help or "").partition("\n")[0] for name in names}
        print(f"Usage: fanfold {names[0].partition(' ')[0]} COMMAND [OPTIONS]", "", "Commands:", sep="\n")
        width = max(map(len, names))
        for name, line in lines.items():
            print(textwrap.fill(line, 78, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4)))
        print("", f"Example:\n  {COMMANDS[names[0]].example}", sep="\n")


def _of_group(arguments: Sequence[str]) -> Sequence[str]:
    """Return the commands whose names have two parts, and begin with the first argument."""
    if not arguments or arguments[0] in COMMANDS:
        return ()
    return [name for name in COMMANDS if name.startswith(f"{arguments[0]} ")]


app: typer.Typer = typer.Typer(
    name="fanfold",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Process SQS batches on AWS Lambda with bounded concurrency, and combine the results of distributed jobs.\n\n"
    "Exit code: 0 if everything requested succeeded, 2 if the input is invalid, 1 for any other failure.",
    epilog="Example:\n  fanfold demo",
)


def _version(value: Any) -> None:
    if value:
        print(f"fanfold {__version__}")
        raise typer.Exit


@app.callback()
def _fanfold(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _command(name: str) -> Any:
    entry = COMMANDS[name]
    module, _, function = entry.target.partition(":")
    command = getattr(import_module(f"fanfold.cli.{module}"), function)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    declare = alone.command(
        name, cls=HelpfulCommand, help=_prose(command.__doc__), epilog=f"Example:\n  {entry.example}"
    )
    declare(_report_errors(command))
    return typer.main.get_command(alone)


def _prose(text: str | None) -> str:
    """Return a docstring with each paragraph on one line, for a terminal of any width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


def _report_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Return the command with each of fanfold's errors turned into one line on stderr and an exit code."""

    @functools.wraps(command)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as for Ctrl-C, so that child processes are stopped
        try:
            command(*args, **kwargs)
        except (ConfigurationError, EventError) as error:
            _fail(str(error), USAGE)
        except FanfoldError as error:
            _fail(str(error), FAILURE)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _fail("no space left on the device: free some space, then run the command again", FAILURE)
        except KeyboardInterrupt:
            _fail("interrupted; nothing is left running on this machine", INTERRUPTED)

    return reporting


def _fail(line: str, code: int) -> NoReturn:
    print("fanfold:", printable(" ".join(line.split())), file=sys.stderr)
    raise typer.Exit(code)
