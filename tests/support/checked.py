"""Templates for tests of ``fanfold check``, and the rules that a report names."""

from typing import Any

from fanfold.check.run import Report

REPORT = ["ReportBatchItemFailures"]
QUEUE: dict[str, Any] = {
    "VisibilityTimeout": 60,
    "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 5},
}
FUNCTION: dict[str, Any] = {"Runtime": "python3.13", "Handler": "app.handler", "CodeUri": "src", "Timeout": 10}
EVENT: dict[str, Any] = {"Queue": {"Fn::GetAtt": ["Jobs", "Arn"]}, "FunctionResponseTypes": REPORT}
OPEN = {"Ref": "Open"}
FIFO_DEAD = {"FifoQueue": True, "MessageRetentionPeriod": 345600}
NAME = {"QueueName": {"Fn::GetAtt": ["Jobs", "QueueName"]}}
SENDS = {"SQSSendMessagePolicy": NAME}


def template(
    *,
    queue: dict[str, Any] | None = None,
    dead: dict[str, Any] | None = None,
    function: dict[str, Any] | None = None,
    event: dict[str, Any] | None = None,
    **resources: Any,
) -> dict[str, Any]:
    """Return a template of a queue, its dead-letter queue, and a function, valid except for the arguments."""
    events = {"Jobs": {"Type": "SQS", "Properties": EVENT | (event or {})}}
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {"Open": {"Type": "String"}},
        "Conditions": {"OpenToo": {"Fn::Equals": [OPEN, "x"]}},
        "Resources": {
            "Jobs": {"Type": "AWS::SQS::Queue", "Properties": QUEUE | (queue or {})},
            "Dead": {"Type": "AWS::SQS::Queue", "Properties": {"MessageRetentionPeriod": 1209600} | (dead or {})},
            "Do": {"Type": "AWS::Serverless::Function", "Properties": FUNCTION | {"Events": events} | (function or {})},
            **resources,
        },
    }


def environment(**variables: Any) -> dict[str, Any]:
    return {"Environment": {"Variables": variables}}


def consumer(**variables: Any) -> dict[str, Any]:
    """Return a function's properties: environment variables, and the policies that they require."""
    return environment(**variables) | {"Policies": [{"SQSPollerPolicy": NAME}]}


def rules(report: Report) -> list[str]:
    return sorted(finding.rule for finding in report.findings)


def unchecked(report: Report) -> set[str]:
    """Return the rules that were not checked because a value is not known."""
    return {rule for note in report.not_known for rule in note.rules}


def outcome(report: Report) -> tuple[list[str], set[str]]:
    """Return the rules with findings, and the rules that were not checked."""
    return rules(report), unchecked(report)
