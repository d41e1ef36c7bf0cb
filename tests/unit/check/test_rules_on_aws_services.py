"""Rules about senders, filters, pipes, scaling, and kinds of functions, where values are unusual or not known."""

from typing import Any

import pytest

from checked import EVENT, OPEN, QUEUE, outcome, rules, template, unchecked

ARN = {"Fn::GetAtt": ["Jobs", "Arn"]}
MANAGED = {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": "arn:ours"}}
BODY = {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]}


def policy(statement: Any, **properties: Any) -> dict[str, Any]:
    content = {"Queues": [{"Ref": "Jobs"}], "PolicyDocument": {"Statement": statement}}
    return {"Type": "AWS::SQS::QueuePolicy", "Properties": content | properties}


def allow(principal: Any, action: Any = "sqs:SendMessage") -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}


def subscribed(**resources: Any) -> dict[str, Any]:
    """Return a template with a topic that sends to its queue."""
    subscription = {"Protocol": "sqs", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Endpoint": ARN}
    return template(Sub={"Type": "AWS::SNS::Subscription", "Properties": subscription}, **resources)


SNS = {"Service": "sns.amazonaws.com"}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], (["FF025"], set())),
        ([policy(allow(SNS))], ([], set())),
        ([policy(allow({"Service": ["s3.amazonaws.com", "sns.amazonaws.com"]}))], ([], set())),
        ([policy(allow("*"))], ([], set())),
        ([policy(allow(OPEN))], ([], {"FF025"})),
        ([policy(allow({"Service": OPEN}))], ([], {"FF025"})),
        ([policy(allow({"AWS": OPEN}))], (["FF025"], set())),
        ([policy(allow(SNS, "sqs:ReceiveMessage"))], (["FF025"], set())),
        ([policy(allow(SNS) | {"Effect": "Deny"})], (["FF025"], set())),
        ([policy({**allow(SNS), "NotPrincipal": {"AWS": "1"}, "Principal": None})], ([], {"FF025"})),
        ([policy({}, PolicyDocument=OPEN)], ([], {"FF025"})),
        ([policy({}, PolicyDocument="{}")], ([], {"FF025"})),
        ([policy({}, PolicyDocument={"Fn::Join": []})], ([], {"FF025"})),
        ([policy(allow(SNS), Queues=[OPEN])], ([], {"FF025"})),
        ([policy(allow(SNS)) | {"Condition": "OpenToo"}], ([], {"FF025"})),
        ([policy(allow(SNS), Queues=[{"Ref": "Dead"}]), policy(allow(SNS))], ([], set())),
    ],
)
def test_a_policy_of_the_queue_lets_a_service_in_or_leaves_a_doubt(check: Any, policies: Any, expected: Any):
    """Only a policy that certainly does not include the service is a finding."""
    resources = {f"Policy{number}": resource for number, resource in enumerate(policies)}
    assert outcome(check(subscribed(**resources))) == expected


def key(*statements: Any) -> dict[str, Any]:
    return {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": list(statements)}}}


USE = ["kms:GenerateDataKey*", "kms:Decrypt"]


@pytest.mark.parametrize(
    ("key_id", "resources", "expected"),
    [
        ("alias/aws/sqs", {}, (["FF024"], set())),
        ("arn:aws:kms:eu-west-1:1:alias/aws/sqs", {}, (["FF024"], set())),
        (OPEN, {}, ([], {"FF024"})),
        ({"Fn::Join": []}, {}, ([], {"FF024"})),
        ({"Ref": "Key"}, {"Key": key(allow(SNS, USE))}, ([], set())),
        ({"Ref": "Key"}, {"Key": key(allow(SNS, "kms:Decrypt"))}, (["FF024"], set())),
        ({"Ref": "Key"}, {"Key": key(allow(SNS, "kms:Decrypt"), allow(SNS, "kms:Generate*"))}, ([], set())),
        ({"Ref": "Key"}, {"Key": key(allow({"Service": OPEN}, USE))}, ([], {"FF024"})),
        ({"Ref": "Key"}, {"Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": OPEN}}}, ([], {"FF024"})),
        ({"Ref": "Key"}, {"Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Ref": []}}}}, ([], {"FF024"})),
        (
            {"Ref": "Name"},
            {
                "Other": {"Type": "AWS::KMS::Alias", "Properties": {"AliasName": "alias/b", "TargetKeyId": "1"}},
                "Name": {"Type": "AWS::KMS::Alias", "Properties": {"AliasName": "alias/a", "TargetKeyId": "1"}},
            },
            ([], {"FF024"}),
        ),
    ],
)
def test_the_policy_of_a_key_lets_a_service_in_or_leaves_a_doubt(
    check: Any, key_id: Any, resources: Any, expected: Any
):
    """The key may be in the template, under an alias, or elsewhere."""
    content = subscribed(Policy=policy(allow(SNS)), **resources)
    content["Resources"]["Jobs"]["Properties"] = QUEUE | {"KmsMasterKeyId": key_id}
    assert outcome(check(content)) == expected


def test_other_targets_and_protocols_are_not_senders(check: Any):
    """Subscriptions of other protocols, queues of other stacks, targets with a role, and malformed lists."""
    other = {"Protocol": "lambda", "Endpoint": ARN, "TopicArn": "t"}
    topic = {
        "Subscription": [{"Protocol": "email", "Endpoint": "a@b"}, {"Protocol": "sqs", "Endpoint": ["odd"]}, "odd"]
    }
    rule = {
        "Targets": [{"Id": "a", "Arn": ARN, "RoleArn": "arn:role"}, {"Id": "b", "Arn": "arn:aws:sqs:eu-west-1:1:x"}]
    }
    bucket = {"NotificationConfiguration": {"QueueConfigurations": [{"Queue": "arn:aws:sqs:eu-west-1:1:x"}, "odd"]}}
    report = check(
        template(
            Sub={"Type": "AWS::SNS::Subscription", "Properties": other},
            Topic={"Type": "AWS::SNS::Topic", "Properties": topic},
            Rule={"Type": "AWS::Events::Rule", "Properties": rule},
            Bucket={"Type": "AWS::S3::Bucket", "Properties": bucket},
            Odd={"Type": "AWS::Events::Rule", "Properties": {"Targets": "odd"}},
        )
    )
    assert outcome(report) == ([], set())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event": {"FilterCriteria": OPEN}}, ([], {"FF020", "FF021"})),
        ({"event": {"FilterCriteria": {"Filters": OPEN}}}, ([], {"FF020", "FF021"})),
        ({"event": {"FilterCriteria": {"Filters": []}}}, ([], set())),
        ({"event": {"FilterCriteria": {"Filters": [{"Pattern": OPEN}]}}}, ([], {"FF020"})),
        ({"event": {"FilterCriteria": {"Filters": [{"Pattern": {"body": {"a": [1]}}}]}}}, (["FF021"], set())),
        ({"event": {"FilterCriteria": {"Filters": [{"Pattern": "[1]"}]}}}, (["FF020"], set())),
        ({"event": {"FilterCriteria": {"Filters": [{}]}}}, (["FF020"], set())),
        ({"event": {"FilterCriteria": {"Filters": [{"Pattern": '{"$or": [{"a": 1}, 2]}'}]}}}, (["FF020"], set())),
        ({"event": {"FilterCriteria": {"Filters": [{"Pattern": '{"$or": 1}'}]}}}, (["FF020"], set())),
        ({"function": {"ReservedConcurrentExecutions": OPEN}}, ([], {"FF022"})),
        ({"function": {"ReservedConcurrentExecutions": 1249}}, (["FF022"], set())),
        ({"function": {"ReservedConcurrentExecutions": 1250}}, ([], set())),
        ({"function": {"ReservedConcurrentExecutions": 5}, "event": {"Enabled": False}}, (["FF030"], set())),
        (
            {"function": {"ReservedConcurrentExecutions": 5}, "queue": {"FifoQueue": OPEN}},
            ([], {"FF009", "FF010", "FF022"}),
        ),
        ({"event": {"ProvisionedPollerConfig": {"MaximumPollers": 1}}}, (["FF026", "FF026"], set())),
        ({"event": {"ProvisionedPollerConfig": {"MinimumPollers": 201}}}, (["FF026", "FF026"], set())),
        ({"event": {"ProvisionedPollerConfig": {"MinimumPollers": OPEN}}}, ([], {"FF026"})),
        ({"function": {"Timeout": 1801}, "queue": {"VisibilityTimeout": 43200}}, (["FF034"], set())),
        ({"function": {"MemorySize": 10241}}, (["FF034"], set())),
        ({"function": {"MemorySize": 10241, "CapacityProviderConfig": OPEN}}, ([], {"FF034"})),
        ({"function": {"MemorySize": 32769, "CapacityProviderConfig": OPEN}}, (["FF034"], set())),
        ({"function": {"MemorySize": 32768, "CapacityProviderConfig": {"Arn": "a"}}}, ([], set())),
        ({"function": {"TenancyConfig": {"TenantIsolationMode": OPEN}}}, ([], {"FF027"})),
        ({"function": {"DurableConfig": {"ExecutionTimeout": OPEN}}}, ([], {"FF028"})),
        ({"function": {"DurableConfig": {"ExecutionTimeout": 1801}}}, (["FF028"], set())),
        ({"function": {"DurableConfig": {"ExecutionTimeout": 1801}, "CapacityProviderConfig": OPEN}}, ([], {"FF028"})),
        (
            {"function": {"DurableConfig": {"ExecutionTimeout": 5401}, "CapacityProviderConfig": OPEN}},
            (["FF028"], set()),
        ),
        ({"function": {"DeadLetterQueue": {"Type": "SQS", "TargetArn": OPEN}}}, ([], set())),
    ],
)
def test_the_rules_at_their_limits_and_with_unknown_values(check: Any, changes: Any, expected: Any):
    """A value on one side of a limit passes, one on the other side is a finding, and an unknown value is neither."""
    assert outcome(check(template(**changes))) == expected


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ({"PerExecutionEnvironmentMaxConcurrency": 3}, ["FF014"]),  # 3 x 97 MB
        ({"PerExecutionEnvironmentMaxConcurrency": 2}, []),
        ({"PerExecutionEnvironmentMaxConcurrency": OPEN}, None),
        ({"ExecutionEnvironmentMemoryGiBPerVCpu": 8}, ["FF014"]),  # 16 processes for one vCPU
        ({"ExecutionEnvironmentMemoryGiBPerVCpu": OPEN}, None),
        (OPEN, None),
    ],
)
def test_the_processes_of_managed_instances_share_the_memory(check: Any, provider: Any, expected: Any):
    """Their number is set, or follows from the memory for each vCPU; a capacity provider may be unknown."""
    function = {"MemorySize": 256, "Environment": {"Variables": {"FANFOLD_CONCURRENCY": 100}}}
    nested = (
        {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": "a"} | provider}
        if provider != OPEN
        else OPEN
    )
    queue_name = {"QueueName": {"Fn::GetAtt": ["Jobs", "QueueName"]}}
    content = template(
        function=function | {"CapacityProviderConfig": nested, "Policies": [{"SQSPollerPolicy": queue_name}]}
    )
    report = check(content)
    if expected is None:
        assert rules(report) == []
        assert "FF014" in unchecked(report)
    else:
        assert rules(report) == expected


def pipe(**properties: Any) -> dict[str, Any]:
    content = {"RoleArn": "arn:aws:iam::1:role/x", "Source": ARN, "Target": {"Fn::GetAtt": ["Do", "Arn"]}}
    return {"Type": "AWS::Pipes::Pipe", "Properties": content | properties}


INVOCATION = "TargetParameters", "LambdaFunctionParameters", "InvocationType"


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, ([], {"FF023"})),
        ({"DesiredState": OPEN}, ([], {"FF023", "FF030"})),
        ({"Source": None}, ([], set())),
        ({"Source": "arn:aws:kinesis:eu-west-1:1:stream/x"}, ([], set())),
        ({"Source": OPEN}, ([], set())),
        (
            {"Source": OPEN, "SourceParameters": {"SqsQueueParameters": {"BatchSize": 5}}},
            ([], {"FF003", "FF004", "FF007", "FF008", "FF023"}),
        ),
        ({"Target": "arn:aws:events:eu-west-1:1:event-bus/x"}, ([], {"FF003", "FF004", "FF023"})),
        ({INVOCATION[0]: {INVOCATION[1]: {INVOCATION[2]: OPEN}}}, ([], {"FF001", "FF023"})),
        ({INVOCATION[0]: {INVOCATION[1]: {INVOCATION[2]: "FIRE_AND_FORGET"}}}, (["FF001"], {"FF023"})),
        ({"SourceParameters": {"FilterCriteria": BODY}}, (["FF021"], {"FF023"})),
        ({"SourceParameters": {"FilterCriteria": {"Filters": [{"Pattern": "odd"}]}}}, (["FF021"], {"FF023"})),
    ],
)
def test_a_pipe_is_judged_as_far_as_it_is_known(check: Any, properties: Any, expected: Any):
    """Its source, its target, its state, and whether it waits for the target may be unknown."""
    content = template(Pipe=pipe(**properties))
    content["Resources"]["Do"]["Properties"] = {
        name: value for name, value in content["Resources"]["Do"]["Properties"].items() if name != "Events"
    }
    assert outcome(check(content)) == expected


def test_a_mapping_of_an_unknown_source_may_have_settings_of_streams(check: Any):
    """Its source may be a stream, so they are not findings; a queue by its ARN has none."""
    properties = {
        "FunctionName": {"Ref": "Do"},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "MaximumRetryAttempts": 3,
    }
    mapping = {"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties | {"EventSourceArn": OPEN}}
    assert rules(check(template(Second=mapping))) == []
    mapping["Properties"]["EventSourceArn"] = "arn:aws:sqs:eu-west-1:1:x"
    assert rules(check(template(Second=mapping))) == ["FF031"]
    mapping["Properties"]["MaximumRetryAttempts"] = {"Ref": "AWS::NoValue"}
    assert rules(check(template(Second=mapping))) == []
    mapping["Properties"]["MaximumRetryAttempts"] = {"Fn::If": ["OpenToo", 3, {"Ref": "AWS::NoValue"}]}
    assert "FF031" in unchecked(check(template(Second=mapping)))


def test_a_filter_of_a_queue_with_two_readers_is_reported_once(check: Any):
    """As two readers of one queue."""
    events = {name: {"Type": "SQS", "Properties": EVENT | {"FilterCriteria": BODY}} for name in ("A", "B")}
    assert rules(check(template(function={"Events": events}))) == ["FF017"]
