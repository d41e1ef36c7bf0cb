"""The notification of the end of a run on the emulated AWS: SNS, and an EventBridge event."""

import json
import uuid

import boto3
import pytest

from deployment import Topic
from fanfold._stack.emulator import LocalStack
from fanfold.aws.backend import connect
from queues_and_ledger import variables_of_new_job

pytestmark = pytest.mark.stack


async def test_a_notification_is_a_message_of_the_topic_and_the_detail_of_an_event(stack: LocalStack):
    """A rule of the event bus sends the event to a queue."""
    name, settings = f"ends-{uuid.uuid4().hex[:8]}", stack.client_settings
    topic = Topic(stack, name)
    events, sqs = (boto3.client(service, **settings) for service in ("events", "sqs"))
    events.create_event_bus(Name=name)
    url = sqs.create_queue(QueueName=f"{name}-events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["fanfold"], "detail-type": ["fanfold run ended"], "detail": {"state": ["FAILED"]}}
    events.put_rule(Name=name, EventBusName=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, EventBusName=name, Targets=[{"Id": "1", "Arn": arn}])
    variables = {
        **variables_of_new_job(stack),
        "FANFOLD_NOTIFICATION_TOPIC_ARN": topic.arn,
        "FANFOLD_EVENT_BUS_NAME": name,
    }
    body = json.dumps({"run": "r-1", "state": "FAILED"})
    async with connect(variables, **settings) as backend:
        assert backend.notifier is not None
        await backend.notifier.publish("fanfold: orders FAILED", body)
    assert topic.messages() == [body]
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    event = json.loads(message["Body"])
    assert (event["source"], event["detail-type"], event["detail"]) == (
        "fanfold",
        "fanfold run ended",
        json.loads(body),
    )
    events.close()
    sqs.close()
