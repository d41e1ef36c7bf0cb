"""Run a job by its state machine, and wait for the end: ``python machine.py RUN PARAMS``.

The machine is named by FANFOLD_STATE_MACHINE_ARN, as ``fanfold local --parameter StateMachine=inline`` sets it.
"""

from __future__ import annotations

import json
import os
import sys
import time

import boto3


def main(run: str, params: str) -> None:
    """Start an execution that is called as the run, and exit with a reason unless it succeeds."""
    states = boto3.client("stepfunctions")
    execution = states.start_execution(
        stateMachineArn=os.environ["FANFOLD_STATE_MACHINE_ARN"],
        name=run,
        input=json.dumps({"params": json.loads(params)}),
    )["executionArn"]
    while (ended := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.5)
    print(f"execution {run}: {ended['status']}")  # noqa: T201 - a script says how it ended
    if ended["status"] != "SUCCEEDED":
        sys.exit(f"{ended.get('error')}: {ended.get('cause')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
