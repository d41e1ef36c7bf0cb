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
        None, metavar="COMMAND", help="After --: run this command with the environment set, and stop when it ends."
    ),
    port: int | None = typer.Option(None, metavar="PORT", help="Port to listen on.", show_default="a free port"),
    job: Path | None = typer.Option(
        None,
        metavar="FOLDER",
        help="Deploy the job whose code is in this folder, with fanfold's template.",
        exists=True,
        file_okay=False,
    ),
    template: Path | None = typer.Option(
        None,
        metavar="FILE",
        help="Deploy this SAM template, such as that of a consumer, with the code that it names.",
        exists=True,
        dir_okay=False,
    ),
    module: str = typer.Option("app", metavar="MODULE", help="With --job: the module with the four handlers."),
    parameters: list[str] | None = typer.Option(
        None, "--parameter", metavar="NAME=VALUE", help="A parameter of the deployed template. Repeatable."
    ),
    log: Path | None = typer.Option(None, metavar="FILE", help="Write the log to this file.", dir_okay=False),
) -> None:
    """Run the embedded local AWS: SQS, Lambda, DynamoDB, S3, CloudFormation and more.

    Use it to develop and test a consumer or a job without an AWS account. With a COMMAND, it runs the command with the
    variables that direct the AWS SDKs to the local AWS, and then stops. Without one, it prints these variables as shell
    commands and runs until Ctrl-C. It keeps no data after it stops. It runs a copy of the code from when it started:
    start it again after a change.

    Exit code: that of COMMAND.
    """
    if parameters and job is None and template is None:
        raise ConfigurationError(
            "--parameter needs --job or --template: add --job FOLDER or --template FILE, or leave --parameter out"
        )
    if job is not None and template is not None:
        raise ConfigurationError("--job deploys fanfold's template: leave out --job or --template")
    template_parameters = parameters_of(parameters or [])
    with local_stack(port=port, keep_log=log) as stack:
        variables = stack.environment
        if job is not None:
            from fanfold._stack.deploy import deploy_job

            variables |= deploy_job(stack, job, module, template_parameters)
        elif template is not None:
            from fanfold._stack.deploy import deploy_template

            variables |= deploy_template(stack, template, template_parameters)
        if command:
            raise typer.Exit(_run(command, variables))
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        print("# Press Ctrl-C to stop; all data is discarded", file=sys.stderr, flush=True)
        while True:
            time.sleep(_DAY_SECONDS)


def _run(command: list[str], variables: Mapping[str, str]) -> int:
    try:
        return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode  # noqa: S603 - the user's command
    except OSError as error:
        raise FanfoldError(f"{command[0]} cannot be run: {error.strerror}") from error
