"""Step Functions executions of a job's state machine, named after the run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from fanfold._base.aws_limits import STEP_FUNCTIONS_NAME_CHARACTERS
from fanfold.aws.clients import FEW_CALLS, client_of
from fanfold.aws.faults import map_errors
from fanfold.errors import ConfigurationError, ServiceError

_RUNNING: Final = frozenset({"RUNNING", "PENDING_REDRIVE"})


@dataclass(frozen=True, slots=True)
class Execution:
    """The status of an execution."""

    status: str
    """Step Functions' status: RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED or PENDING_REDRIVE."""
    reason: str
    """The error and its cause; empty if there is none."""

    @property
    def running(self) -> bool:
        """True until the execution has ended."""
        return self.status in _RUNNING


class StateMachine:
    """A job's state machine.

    Args:
        client: An aiobotocore client of Step Functions.
        arn: The ARN of the state machine.
    """

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    async def start(self, run: str, params: Mapping[str, Any]) -> str:
        """Start an execution that is named after a run; return its ARN.

        Raises:
            ConfigurationError: If the state machine does not exist, the name is too long for an execution, or it is
                taken: Step Functions reserves a name for 90 days.
            ServiceError: If Step Functions did not respond.
        """
        if len(run) > STEP_FUNCTIONS_NAME_CHARACTERS:
            raise ConfigurationError(
                f"run {run!r}: the name of an execution must have at most {STEP_FUNCTIONS_NAME_CHARACTERS} characters, "
                f"not {len(run)}"
            )
        request = json.dumps({"params": dict(params)})
        try:
            with map_errors(f"state machine {self._arn}"):
                started = await self._client.start_execution(stateMachineArn=self._arn, name=run, input=request)
        except ServiceError as error:
            if error.code != "ExecutionAlreadyExists":
                raise
            raise ConfigurationError(
                f"the state machine already has an execution named {run}: choose another name; "
                f"`fanfold status {run}` shows that run"
            ) from error
        return str(started["executionArn"])

    async def execution(self, arn: str) -> Execution:
        """Return the status of an execution.

        Raises:
            ServiceError: If Step Functions did not respond.
        """
        with map_errors(f"execution {arn}"):
            response = await self._client.describe_execution(executionArn=arn)
        return Execution(response["status"], ": ".join(filter(None, [response.get("error"), response.get("cause")])))


@asynccontextmanager
async def open_state_machine(arn: str) -> AsyncIterator[StateMachine]:
    """Yield the state machine that an ARN names.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("stepfunctions", "Step Functions", FEW_CALLS) as opened:
        yield StateMachine(opened, arn)
