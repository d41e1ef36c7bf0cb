"""``fanfold env``."""

from __future__ import annotations

import json
import shlex

import anyio
import typer

from fanfold.errors import MissingExtraError


def env(
    stack: str = typer.Argument(metavar="STACK", help="Name of the stack, as given to sam deploy."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object instead of lines for a shell."),
) -> None:
    """Print the variables that name a deployed job, for the commands that look at it.

    Read from the outputs of its stack: queues, table, bucket, and the state machine if there is one.

    In a shell:  eval "$(fanfold env fanfold-dev)" and then  fanfold run, status, redrive, results
    """
    try:
        from fanfold.aws.outputs import outputs_of, variables_of
    except ImportError as error:
        raise MissingExtraError("aws", "a deployed stack") from error
    variables = variables_of(anyio.run(outputs_of, stack))
    if as_json:
        print(json.dumps(variables))
        return
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
