"""The outputs of a deployed stack, and the environment variables that commands and functions read from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fanfold.aws.clients import FEW_CALLS, client_of
from fanfold.aws.faults import map_errors
from fanfold.errors import ConfigurationError, ServiceError

_VARIABLES: Final = {
    "FANFOLD_QUEUE_URL": "QueueUrl",
    "FANFOLD_DEAD_LETTER_QUEUE_URL": "DeadLetterQueueUrl",
    "FANFOLD_FOLD_QUEUE_URL": "FoldQueueUrl",
    "FANFOLD_QUARANTINE_QUEUE_URL": "QuarantineQueueUrl",
    "FANFOLD_LEDGER_TABLE": "LedgerTable",
    "FANFOLD_RESULTS_BUCKET": "ResultsBucket",
}
_OPTIONAL: Final = {
    "FANFOLD_STATE_MACHINE_ARN": "StateMachine",
    "FANFOLD_LOG_GROUPS": "LogGroups",
    "FANFOLD_BREAKER_TABLE": "BreakerTable",
}


def variables_of(outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for a deployed job: its queues, table and bucket.

    Also for its state machine and its log groups, if the stack has these outputs.

    Raises:
        ConfigurationError: If an output is missing.
    """
    if missing := [output for output in _VARIABLES.values() if output not in outputs]:
        raise ConfigurationError(
            f"the stack has no output {', '.join(missing)}: deploy the job from fanfold's template"
        )
    return present_variables_of(outputs)


def present_variables_of(outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for which a stack has outputs, such as those of a consumer's queues."""
    return {name: outputs[output] for name, output in (_VARIABLES | _OPTIONAL).items() if output in outputs}


async def outputs_of(stack: str) -> dict[str, str]:
    """Return the outputs of a CloudFormation stack.

    Args:
        stack: Name or ARN of the stack.

    Raises:
        ConfigurationError: If the stack does not exist, no region is set, or AWS refuses the credentials.
        ServiceError: If CloudFormation did not respond.
    """
    resource = f"stack {stack}"
    try:
        async with client_of("cloudformation", resource, FEW_CALLS) as cloudformation:
            with map_errors(resource):
                response = await cloudformation.describe_stacks(StackName=stack)
    except ServiceError as error:
        if error.code != "ValidationError":  # CloudFormation's code for a stack that does not exist
            raise
        raise ConfigurationError(f"{error}; check the name, the account and the region") from error
    return {output["OutputKey"]: output["OutputValue"] for output in response["Stacks"][0].get("Outputs", [])}
