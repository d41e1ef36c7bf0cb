"""A job deployed to the emulated AWS from the project's template, for benchmarks and for tests."""

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
PATIENCE_SECONDS = 180


def until(holds: Callable[[], bool], *, within_seconds: float = PATIENCE_SECONDS) -> None:
    """Look until it holds; the emulator's mapping works in its own time."""
    end = time.monotonic() + within_seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come about in time")
        time.sleep(0.1)


class Topic:
    """An SNS topic, and a queue that is subscribed to it."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        sns, self._sqs = (boto3.client(service, **stack.client_settings) for service in ("sns", "sqs"))
        self.arn: str = sns.create_topic(Name=name)["TopicArn"]
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        told = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        arn = told["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": policy})
        sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    def messages(self) -> list[str]:
        """Return what people have been told since the last look."""
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        for message in answer.get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in answer.get("Messages", [])]


class Deployment:
    """The outputs of a deployed template, and what tests do with them."""

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
        if visibility_timeout is not None:  # shorter than the template allows: a test does not wait six timeouts
            for queue in ("QueueUrl", "DeadLetterQueueUrl", "FoldQueueUrl"):
                self.clients["sqs"].set_queue_attributes(
                    QueueUrl=self.outputs[queue], Attributes={"VisibilityTimeout": str(visibility_timeout)}
                )

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return boto3.client(service, **self.client_settings)

    @property
    def client_settings(self) -> dict[str, str]:
        """What points a client to the emulator."""
        return self.stack.client_settings

    @property
    def variables(self) -> dict[str, str]:
        """The variables that name its queues, table and bucket."""
        return variables_of(self.outputs)

    def upload(self, key: str, data: bytes) -> None:
        """Put an object into its results bucket."""
        self.clients["s3"].put_object(Bucket=self.outputs["ResultsBucket"], Key=key, Body=data)

    def objects(self, prefix: str) -> list[str]:
        """Return the keys in its results bucket."""
        answer = self.clients["s3"].list_objects_v2(Bucket=self.outputs["ResultsBucket"], Prefix=prefix)
        return [entry["Key"] for entry in answer.get("Contents", [])]

    def scatter(self, run: str, **params: Any) -> dict[str, Any]:
        """Start a run by SQS; return what the scatter function answers."""
        request = {"run": run, "params": {"bucket": self.outputs["ResultsBucket"], **params}}
        answer = self.clients["lambda"].invoke(
            FunctionName=self.outputs["ScatterFunction"], Payload=json.dumps(request).encode()
        )
        answered: dict[str, Any] = json.loads(answer["Payload"].read())
        return answered

    def execute(self, run: str, **params: Any) -> str:
        """Run it by its state machine, to the end of the execution; return how that ended."""
        states = self.client("stepfunctions")
        request = {"params": {"bucket": self.outputs["ResultsBucket"], **params}}
        arn = states.start_execution(stateMachineArn=self.outputs["StateMachine"], name=run, input=json.dumps(request))[
            "executionArn"
        ]
        until(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING", within_seconds=240)
        return str(states.describe_execution(executionArn=arn)["status"])

    def states(self) -> dict[str, Any]:
        """Return the states of its state machine, as they are deployed."""
        machine = self.outputs["StateMachine"]
        described = self.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
        states: dict[str, Any] = json.loads(described["definition"])["States"]
        return states

    async def output(self, run_id: str, *, within_seconds: float = 240) -> Any:
        """Wait for the end of a run, which has to succeed; return its output.

        Raises:
            FanfoldError: If it has another end, or none in time.
        """
        async with connect(self.variables, **self.client_settings) as backend:
            seen = [progress async for progress in watch(backend, run_id, within_seconds=within_seconds)]
            if (state := seen[-1].state) != "SUCCEEDED":
                raise FanfoldError(f"the run {run_id} is {state}")
            run = await backend.ledger.run(run_id)
            return json.loads(await backend.get_result(str(run and run.output)))

    async def lines(self, output: dict[str, Any]) -> list[str]:
        """Return the lines of the file that an output names."""
        async with connect(self.variables, **self.client_settings) as backend:
            return (await backend.get_result(output["file"])).decode().splitlines()
