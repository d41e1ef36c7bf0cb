"""The permissions of the templates' roles and policies, on an emulated AWS that enforces them."""

import json
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from command import FLIGHTS
from deployment import CODE_BUCKET, Deployment, until
from fanfold._jobs.report import read_report, watch
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from fanfold.init import create
from policies import denials, logged, over_http
from worker_trial import in_queue

pytestmark = pytest.mark.stack

NO_SERVER = "http://127.0.0.1:9"
ROWS = b"carrier,dep_time,dep_delay,arr_delay\n" + b"AA,5,2,4\n" * 20


async def test_the_functions_of_a_job_have_all_permissions_they_need(strict: LocalStack, tmp_path: Path):
    """Including visibility changes, the dead-letter queue, and the fold; no log contains a denial."""
    template = over_http(project_folder() / "template.yaml", tmp_path / "template.yaml")
    parameters = {"FunctionTimeout": "15", "HandlerModule": "faulty_app"}
    deployed = Deployment(strict, "allowed", FLIGHTS, parameters, template=template)
    deployed.clients["sqs"].send_message(QueueUrl=deployed.outputs["QueueUrl"], MessageBody="stray")
    deployed.upload("input/few.csv", ROWS + b'"AA,5,22\n')
    assert deployed.scatter("run", key="input/few.csv", chunk_bytes=9)["segments"] == 21
    async with connect(deployed.variables, **deployed.client_settings) as backend:
        async for _ in watch(backend, "run", within_seconds=600):
            pass
        report = await read_report(backend, await backend.ledger.run("run"))
        assert (report.done, list(report.failed), report.retries) == (20, [20], 3)
        assert [message.body for message in await backend.quarantine_queue.receive(wait_seconds=20)] == ["stray"]
    assert denials(strict, "allowed") == []


def test_a_missing_permission_is_named_in_the_error(strict: LocalStack, tmp_path: Path):
    """A scatter without write access to the ledger fails, which shows that the emulator enforces permissions."""
    template = over_http(project_folder() / "template.yaml", tmp_path / "template.yaml")
    template.write_text(template.read_text().replace('"dynamodb:PutItem", ', "", 1))
    deployed = Deployment(strict, "denied", FLIGHTS, {}, template=template)
    deployed.upload("input/few.csv", ROWS)
    failed = deployed.scatter("run", key="input/few.csv", chunk_bytes=9)
    assert "dynamodb:PutItem" in failed["errorMessage"]


def test_requests_without_tls_are_refused(strict: LocalStack):
    """By every queue. The bucket has the same policy, which the emulator stores but does not enforce."""
    deployed = Deployment(strict, "tls", FLIGHTS, {})
    for queue in ("QueueUrl", "DeadLetterQueueUrl", "FoldQueueUrl", "QuarantineQueueUrl"):
        with pytest.raises(ClientError, match="AccessDenied"):
            deployed.clients["sqs"].send_message(QueueUrl=deployed.outputs[queue], MessageBody="in the clear")
    response = deployed.clients["s3"].get_bucket_policy(Bucket=deployed.outputs["ResultsBucket"])
    (statement,) = json.loads(response["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_the_function_of_a_new_consumer_has_all_permissions_it_needs(strict: LocalStack, tmp_path: Path):
    """One order is priced, one is sent to the dead-letter queue, and one fails and is delayed by its backoff."""
    folder = create("shop", tmp_path, job=False, version="0.1.0")
    template = over_http(folder / "template.yaml", folder / "over-http.yaml")
    clients = {name: boto3.client(name, **strict.client_settings) for name in ("s3", "cloudformation", "sqs")}
    clients["s3"].create_bucket(Bucket=f"{CODE_BUCKET}-consumer")
    outputs = deploy(clients, template, name="shop", parameters={}, code_bucket=f"{CODE_BUCKET}-consumer")
    huge = {"order": "o-3", "lines": [{"price": 1e308, "count": 10**400}]}
    for order in (huge, {"order": "o-1", "lines": [{"price": 1, "count": 1}]}, {"order": "o-2", "lines": []}):
        clients["sqs"].send_message(QueueUrl=outputs["QueueUrl"], MessageBody=json.dumps(order))
    received = clients["sqs"].receive_message(QueueUrl=outputs["DeadLetterQueueUrl"], WaitTimeSeconds=20)
    assert [json.loads(message["Body"])["order"] for message in received["Messages"]] == ["o-2"]
    until(lambda: any("OverflowError" in message for message in logged(strict, "shop")))  # logged after its backoff
    assert denials(strict, "shop") == []


# The first probe is due after half a minute, and everything is invoked by cold functions.
@pytest.mark.slow
@pytest.mark.deep
def test_a_new_consumer_with_a_breaker_has_all_permissions_it_needs_in_an_outage(strict: LocalStack, tmp_path: Path):
    """While the service is down, messages stay invisible; the tick notices its recovery, and all are processed."""
    folder = create("booked", tmp_path, job=False, version="0.1.0", breaker=True)
    template = over_http(folder / "template.yaml", folder / "over-http.yaml")
    variable = "          FANFOLD_BREAKER_TABLE:"
    template.write_text(template.read_text().replace(variable, f"          SERVICE_URL: {NO_SERVER}\n{variable}", 1))
    services = ("s3", "cloudformation", "sqs", "lambda", "dynamodb")
    clients = {name: boto3.client(name, **strict.client_settings) for name in services}
    clients["s3"].create_bucket(Bucket=f"{CODE_BUCKET}-booked")
    outputs = deploy(clients, template, name="booked", parameters={}, code_bucket=f"{CODE_BUCKET}-booked")
    for number in range(12):
        order = {"order": f"o-{number}", "lines": [{"price": 1, "count": 1}]}
        clients["sqs"].send_message(QueueUrl=outputs["QueueUrl"], MessageBody=json.dumps(order))

    def state() -> str:
        key = {"id": {"S": "booking"}}
        item = clients["dynamodb"].get_item(TableName=outputs["BreakerTable"], Key=key).get("Item", {})
        return str(item.get("state", {}).get("S", ""))

    until(lambda: state() == "OPEN")
    function = clients["lambda"].get_function_configuration(FunctionName=outputs["FunctionName"])
    variables = {**function["Environment"]["Variables"], "SERVICE_URL": ""}  # the service is back
    clients["lambda"].update_function_configuration(
        FunctionName=outputs["FunctionName"], Environment={"Variables": variables}
    )
    # The update ends invocations that run; their messages are received again after the visibility timeout, 361 s.
    until(lambda: state() == "CLOSED" and in_queue(clients["sqs"], outputs["QueueUrl"]) == 0, within_seconds=500)
    assert in_queue(clients["sqs"], outputs["DeadLetterQueueUrl"]) == 0
    assert denials(strict, "booked") == []
