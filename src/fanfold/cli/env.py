"""``fanfold env``."""

from __future__ import annotations

import json
import shlex

import anyio
import typer

from fanfold.errors import MissingExtraError


def env(
    stack: str = typer.Argument(metavar="STACK", help="Name of the stack, as in `sam deploy --stack-name`."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object instead of shell commands."),
) -> None:
    """Print the environment variables of a deployed job.

    Use it before `fanfold run`, `status`, `redrive` and `results`: eval "$(fanfold env STACK)" sets the variables in
    your shell. They come from the outputs of the stack: queues, table, bucket, and the state machine if it has one.
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
