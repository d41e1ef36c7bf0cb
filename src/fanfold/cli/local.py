"""``fanfold local``."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from fanfold._stack.emulator import local_stack
from fanfold.cli.arguments import parameters_of
from fanfold.errors import ConfigurationError, FanfoldError

_DAY_SECONDS = 86_400


def local(
    command: list[str] | None = typer.Argument(
        None, metavar="COMMAND", help="Behind --: run this with the environment set, and stop when it ends."
    ),
    port: int | None = typer.Option(None, help="Where it listens.", show_default="a free port"),
    job: Path | None = typer.Option(
        None, help="Folder with a job's code: deploys it by fanfold's own template.", exists=True, file_okay=False
    ),
    module: str = typer.Option("app", help="With --job: the module that holds the four handlers."),
    parameters: list[str] | None = typer.Option(
        None, "--parameter", metavar="NAME=VALUE", help="With --job: a parameter of the template; may be repeated."
    ),
    log: Path | None = typer.Option(None, help="Keep its log in this file.", dir_okay=False),
) -> None:
    """Run the embedded local AWS: SQS, Lambda, DynamoDB, S3, CloudFormation and more, on this machine.

    Prints the variables that point an AWS SDK to it, for a shell to evaluate, and runs until Ctrl-C; or runs a command
    with them set. It forgets everything when it ends. Exit code: the command's.
    """
    if parameters and job is None:
        raise ConfigurationError("--parameter is for what is deployed: name its folder with --job")
    given = parameters_of(parameters or [])
    with local_stack(port=port, keep_log=log) as stack:
        variables = stack.environment
        if job is not None:
            from fanfold._stack.deploy import deploy_job

            variables |= deploy_job(stack, job, module, given)
        if command:
            raise typer.Exit(_run(command, variables))
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        print("# Ctrl-C stops it; nothing is kept", file=sys.stderr, flush=True)
        while True:
            time.sleep(_DAY_SECONDS)  # until Ctrl-C


def _run(command: list[str], variables: Mapping[str, str]) -> int:
    try:
        return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode  # noqa: S603 - the user's own
    except OSError as error:
        raise FanfoldError(f"{command[0]} cannot be run: {error.strerror}") from error
