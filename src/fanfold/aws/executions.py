"""Executions of a job's state machine on Step Functions: started under the name of the run, and looked at."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from fanfold._base.aws_limits import STEP_FUNCTIONS_NAME_CHARACTERS
from fanfold.aws.clients import FEW_CALLS, client_of
from fanfold.aws.faults import faults_of
from fanfold.errors import ConfigurationError, ServiceError

_RUNNING: Final = frozenset({"RUNNING", "PENDING_REDRIVE"})


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of an execution."""

    status: str
    """In Step Functions' own word: RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED or PENDING_REDRIVE."""
    reason: str
    """Its error and the cause; empty where there is none."""

    @property
    def running(self) -> bool:
        """Whether more is to come of it."""
        return self.status in _RUNNING


class StateMachine:
    """A job's state machine.

    Args:
        client: An aiobotocore client of Step Functions.
        arn: Its ARN.
    """

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    async def start(self, run: str, params: Mapping[str, Any]) -> str:
        """Start an execution under the name of a run, and return its ARN.

        Raises:
            ConfigurationError: If there is no such state machine, the name is too long for an execution, or one has it
                already: Step Functions keeps names for 90 days.
            ServiceError: If it did not answer.
        """
        if len(run) > STEP_FUNCTIONS_NAME_CHARACTERS:
            raise ConfigurationError(
                f"run {run!r}: an execution's name has at most {STEP_FUNCTIONS_NAME_CHARACTERS} characters"
            )
        request = json.dumps({"params": dict(params)})
        try:
            with faults_of(f"state machine {self._arn}"):
                started = await self._client.start_execution(stateMachineArn=self._arn, name=run, input=request)
        except ServiceError as error:
            if error.code != "ExecutionAlreadyExists":
                raise
            raise ConfigurationError(
                f"the state machine has had an execution called {run}: choose another name; "
                f"fanfold status {run} says what became of it"
            ) from error
        return str(started["executionArn"])

    async def execution(self, arn: str) -> Execution:
        """Return what has become of an execution.

        Raises:
            ServiceError: If the service did not answer.
        """
        with faults_of(f"execution {arn}"):
            told = await self._client.describe_execution(executionArn=arn)
        return Execution(told["status"], ": ".join(filter(None, [told.get("error"), told.get("cause")])))


@asynccontextmanager
async def open_state_machine(arn: str) -> AsyncIterator[StateMachine]:
    """Yield the state machine that an ARN names.

    Raises:
        ConfigurationError: If there is no region.
    """
    async with client_of("stepfunctions", "Step Functions", FEW_CALLS) as opened:
        yield StateMachine(opened, arn)
