"""What ``template.yaml`` makes on the emulated AWS with other parameters than its defaults."""

import json

import pytest

from command import FLIGHTS
from deployment import Deployment
from fanfold._jobs.report import watch
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of

pytestmark = pytest.mark.stack


async def test_a_job_runs_over_a_fifo_queue(own_stack: LocalStack):
    """Its segments wait for nothing, and what is no segment is quarantined by way of a FIFO dead-letter queue."""
    deployed = Deployment(own_stack, "fifo", FLIGHTS, {"QueueType": "fifo", "FunctionTimeout": "15"})
    assert deployed.outputs["QueueUrl"].endswith(".fifo")
    assert deployed.outputs["DeadLetterQueueUrl"].endswith(".fifo")
    sent = {"MessageBody": "stray", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    deployed.clients["sqs"].send_message(QueueUrl=deployed.outputs["QueueUrl"], **sent)
    deployed.upload("input/few.csv", b"carrier,dep_time,dep_delay,arr_delay\n" + b"AA,5,2,4\n" * 40)
    assert deployed.scatter("fifo", key="input/few.csv", chunk_bytes=9)["segments"] == 40
    async with connect(variables_of(deployed.outputs), **deployed.client_settings) as backend:
        seen = [progress async for progress in watch(backend, "fifo", within_seconds=120)]
        assert seen[-1].state == "SUCCEEDED"
        output = json.loads(await backend.get_result((await backend.ledger.run("fifo")).output))
        assert output["AA"]["flights"] == 40
        assert [message.body for message in await backend.quarantine_queue.receive(wait_seconds=20)] == ["stray"]


def test_a_large_batch_on_a_standard_queue_has_its_window_and_the_visibility_that_follows(own_stack: LocalStack):
    """All of it from three parameters."""
    large = {"BatchSize": "10000", "BatchingWindow": "60", "FunctionTimeout": "300", "MaximumConcurrency": "100"}
    deployed = Deployment(own_stack, "large", FLIGHTS, large)
    mappings = deployed.clients["lambda"].list_event_source_mappings(FunctionName=deployed.outputs["SegmentFunction"])
    (mapping,) = mappings["EventSourceMappings"]
    assert (mapping["BatchSize"], int(mapping["MaximumBatchingWindowInSeconds"])) == (10_000, 60)
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 100}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    told = deployed.clients["sqs"].get_queue_attributes(QueueUrl=deployed.outputs["QueueUrl"], AttributeNames=["All"])
    assert told["Attributes"]["VisibilityTimeout"] == "1860"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"BatchSize": "11"}, "A BatchSize over 10 needs a BatchingWindow of at least 1 second"),
        ({"QueueType": "fifo", "BatchingWindow": "5"}, "A FIFO queue takes no BatchingWindow"),
        ({"QueueType": "fifo", "BatchSize": "11"}, "A BatchSize over 10 needs a BatchingWindow"),
        ({"MaxReceiveCount": "4"}, "MaxReceiveCount"),
        ({"RetentionSeconds": "1209600"}, "RetentionSeconds"),
        ({"FunctionTimeout": "61"}, "FunctionTimeout"),
        ({"MaximumConcurrency": "1"}, "MaximumConcurrency"),
    ],
)
def test_parameters_that_do_not_fit_together_make_nothing(own_stack: LocalStack, parameters: dict, reason: str):
    """CloudFormation refuses them and says which."""
    with pytest.raises(Exception, match=reason):
        Deployment(own_stack, "wrong", FLIGHTS, parameters)
