"""``template.yaml`` deployed to the emulated AWS with parameters other than the defaults."""

import json

import pytest

from command import FLIGHTS
from deployment import Deployment
from fanfold._jobs.report import watch
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of

pytestmark = pytest.mark.stack


async def test_a_job_runs_over_a_fifo_queue(stack: LocalStack):
    """Its segments do not block each other, and a stray message is quarantined through a FIFO dead-letter queue."""
    deployed = Deployment(stack, "fifo", FLIGHTS, {"QueueType": "fifo", "FunctionTimeout": "15"})
    assert deployed.outputs["QueueUrl"].endswith(".fifo")
    assert deployed.outputs["DeadLetterQueueUrl"].endswith(".fifo")
    sent = {"MessageBody": "stray", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    deployed.clients["sqs"].send_message(QueueUrl=deployed.outputs["QueueUrl"], **sent)
    deployed.upload("input/few.csv", b"carrier,dep_time,dep_delay,arr_delay\n" + b"AA,5,2,4\n" * 40)
    assert deployed.scatter("fifo", key="input/few.csv", chunk_bytes=9)["segments"] == 40
    async with connect(variables_of(deployed.outputs), **deployed.client_settings) as backend:
        seen = [progress async for progress in watch(backend, "fifo", within_seconds=600)]
        assert seen[-1].state == "SUCCEEDED"
        output = json.loads(await backend.get_result((await backend.ledger.run("fifo")).output))
        assert output["AA"]["flights"] == 40
        assert [message.body for message in await backend.quarantine_queue.receive(wait_seconds=20)] == ["stray"]


def test_a_large_batch_has_its_window_and_the_derived_visibility_timeout(stack: LocalStack):
    """All settings are derived from the parameters."""
    large = {"BatchSize": "10000", "BatchingWindow": "60", "FunctionTimeout": "300", "MaximumConcurrency": "100"}
    deployed = Deployment(stack, "large", FLIGHTS, large)
    mappings = deployed.clients["lambda"].list_event_source_mappings(FunctionName=deployed.outputs["SegmentFunction"])
    (mapping,) = mappings["EventSourceMappings"]
    assert (mapping["BatchSize"], int(mapping["MaximumBatchingWindowInSeconds"])) == (10_000, 60)
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 100}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    queue = deployed.clients["sqs"].get_queue_attributes(QueueUrl=deployed.outputs["QueueUrl"], AttributeNames=["All"])
    assert queue["Attributes"]["VisibilityTimeout"] == "1860"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"BatchSize": "11"}, "A BatchSize of more than 10 needs a BatchingWindow of at least 1 second"),
        ({"QueueType": "fifo", "BatchingWindow": "5"}, "A FIFO queue supports no BatchingWindow"),
        ({"QueueType": "fifo", "BatchSize": "11"}, "A BatchSize of more than 10 needs a BatchingWindow"),
        ({"MaxReceiveCount": "4"}, "MaxReceiveCount"),
        ({"RetentionSeconds": "1209600"}, "RetentionSeconds"),
        ({"FunctionTimeout": "61"}, "FunctionTimeout"),
        ({"MaximumConcurrency": "1"}, "MaximumConcurrency"),
    ],
)
def test_invalid_combinations_of_parameters_are_refused(stack: LocalStack, parameters: dict, reason: str):
    """CloudFormation refuses them, names the parameter, and creates nothing."""
    with pytest.raises(Exception, match=reason):
        Deployment(stack, "wrong", FLIGHTS, parameters)
