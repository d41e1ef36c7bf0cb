"""Deployment of a job to the emulated AWS from the project's template, for benchmarks and tests."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3

from fanfold._jobs.report import watch
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of
from fanfold.errors import FanfoldError

CODE_BUCKET = "code"
CONDITION_SECONDS = 180


def until(is_met: Callable[[], bool], *, within_seconds: float = CONDITION_SECONDS) -> None:
    """Poll until a condition is met."""
    end = time.monotonic() + within_seconds
    while not is_met():
        if time.monotonic() > end:
            raise TimeoutError(f"the condition was not met within {within_seconds:g} s")
        time.sleep(0.1)


class Topic:
    """An SNS topic with a subscribed queue."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        sns, self._sqs = (boto3.client(service, **stack.client_settings) for service in ("sns", "sqs"))
        self.arn: str = sns.create_topic(Name=name)["TopicArn"]
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        response = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        arn = response["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    def messages(self) -> list[str]:
        """Return the notifications since the last call."""
        response = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in response.get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in response.get("Messages", [])]


class Deployment:
    """A deployed template: its outputs, and operations on it."""

    def __init__(
        self,
        stack: LocalStack,
        name: str,
        code: Path,
        parameters: Mapping[str, str],
        *,
        visibility_timeout: int | None = None,
        template: Path | None = None,
    ) -> None:
        self.stack = stack
        services = ("s3", "cloudformation", "lambda", "sqs")
        self.clients = {service: self.client(service) for service in services}
        with contextlib.suppress(self.clients["s3"].exceptions.BucketAlreadyOwnedByYou):
            self.clients["s3"].create_bucket(Bucket=CODE_BUCKET)
        self.outputs = deploy(
            self.clients,
            template or project_folder() / "template.yaml",
            name=name,
            parameters=parameters,
            code_bucket=CODE_BUCKET,
            code=code,
        )
        if visibility_timeout is not None:  # shorter than in the template, so that tests do not wait so long
            for queue in ("QueueUrl", "DeadLetterQueueUrl", "FoldQueueUrl"):
                self.clients["sqs"].set_queue_attributes(
                    QueueUrl=self.outputs[queue], Attributes={"VisibilityTimeout": str(visibility_timeout)}
                )

    def client(self, service: str) -> Any:
        """Return a boto3 client of a service."""
        return boto3.client(service, **self.client_settings)

    @property
    def client_settings(self) -> dict[str, str]:
        """Client settings for the emulator."""
        return self.stack.client_settings

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables for its queues, table and bucket."""
        return variables_of(self.outputs)

    def upload(self, key: str, data: bytes) -> None:
        """Put an object into its results bucket."""
        self.clients["s3"].put_object(Bucket=self.outputs["ResultsBucket"], Key=key, Body=data)

    def objects(self, prefix: str) -> list[str]:
        """Return the keys with a prefix in its results bucket."""
        response = self.clients["s3"].list_objects_v2(Bucket=self.outputs["ResultsBucket"], Prefix=prefix)
        return [entry["Key"] for entry in response.get("Contents", [])]

    def scatter(self, run: str, **params: Any) -> dict[str, Any]:
        """Start a run with SQS; return the response of the scatter function."""
        request = {"run": run, "params": {"bucket": self.outputs["ResultsBucket"], **params}}
        response = self.clients["lambda"].invoke(
            FunctionName=self.outputs["ScatterFunction"], Payload=json.dumps(request).encode()
        )
        summary: dict[str, Any] = json.loads(response["Payload"].read())
        return summary

    def execute(self, run: str, **params: Any) -> str:
        """Start a run with the state machine; return the status of the execution after its end."""
        states = self.client("stepfunctions")
        request = {"params": {"bucket": self.outputs["ResultsBucket"], **params}}
        arn = states.start_execution(stateMachineArn=self.outputs["StateMachine"], name=run, input=json.dumps(request))[
            "executionArn"
        ]
        until(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING", within_seconds=600)
        return str(states.describe_execution(executionArn=arn)["status"])

    def states(self) -> dict[str, Any]:
        """Return the states of its deployed state machine."""
        machine = self.outputs["StateMachine"]
        described = self.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
        states: dict[str, Any] = json.loads(described["definition"])["States"]
        return states

    async def output(self, run_id: str, *, within_seconds: float = 600) -> Any:
        """Wait until a run succeeds; return its output.

        Raises:
            FanfoldError: If it fails, or does not end in time.
        """
        async with connect(self.variables, **self.client_settings) as backend:
            updates = [progress async for progress in watch(backend, run_id, within_seconds=within_seconds)]
            if (state := updates[-1].state) != "SUCCEEDED":
                raise FanfoldError(f"the run {run_id} is {state}")
            run = await backend.ledger.run(run_id)
            return json.loads(await backend.get_result(str(run and run.output)))

    async def lines(self, output: dict[str, Any]) -> list[str]:
        """Return the lines of the file in an output."""
        async with connect(self.variables, **self.client_settings) as backend:
            return (await backend.get_result(output["file"])).decode().splitlines()
