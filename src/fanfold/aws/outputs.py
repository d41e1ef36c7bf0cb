"""The outputs of a deployed stack, and the variables that they are for commands and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fanfold.aws.clients import FEW_CALLS, client_of
from fanfold.aws.faults import faults_of
from fanfold.errors import ConfigurationError, ServiceError

_VARIABLES: Final = {
    "FANFOLD_QUEUE_URL": "QueueUrl",
    "FANFOLD_DEAD_LETTER_QUEUE_URL": "DeadLetterQueueUrl",
    "FANFOLD_FOLD_QUEUE_URL": "FoldQueueUrl",
    "FANFOLD_QUARANTINE_QUEUE_URL": "QuarantineQueueUrl",
    "FANFOLD_LEDGER_TABLE": "LedgerTable",
    "FANFOLD_RESULTS_BUCKET": "ResultsBucket",
}
_MACHINE: Final = {"FANFOLD_STATE_MACHINE_ARN": "StateMachine"}


def variables_of(outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name a deployed job's queues, table and bucket, and its state machine if it has one.

    Raises:
        ConfigurationError: If an output is missing.
    """
    if missing := [output for output in _VARIABLES.values() if output not in outputs]:
        raise ConfigurationError(f"the stack has no output {', '.join(missing)}: it is no job's of fanfold's template")
    return {name: outputs[output] for name, output in (_VARIABLES | _MACHINE).items() if output in outputs}


async def outputs_of(stack: str) -> dict[str, str]:
    """Return the outputs of a stack of CloudFormation, by its name or ARN.

    Raises:
        ConfigurationError: If there is no such stack, or no region, or AWS refuses the credentials.
        ServiceError: If CloudFormation did not answer.
    """
    what = f"stack {stack}"
    try:
        async with client_of("cloudformation", what, FEW_CALLS) as cloudformation:
            with faults_of(what):
                told = await cloudformation.describe_stacks(StackName=stack)
    except ServiceError as error:
        if error.code != "ValidationError":  # which CloudFormation says of a stack that is not there, too
            raise
        raise ConfigurationError(f"{error}; check the name, the account and the region") from error
    return {each["OutputKey"]: each["OutputValue"] for each in told["Stacks"][0].get("Outputs", [])}
