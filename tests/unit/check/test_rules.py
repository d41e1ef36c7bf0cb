"""What ``fanfold check`` makes of single settings that are odd, open or between two rules."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fanfold.check.run import Report, check_template
from fanfold.errors import ConfigurationError

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
    """Return a template of a queue, its dead-letter queue and a function: nothing is wrong in it but what is given."""
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


def told(**variables: Any) -> dict[str, Any]:
    """Return a function's properties: variables, and what it takes to use them."""
    return environment(**variables) | {"Policies": [{"SQSPollerPolicy": NAME}]}


@pytest.fixture
def check(tmp_path: Path) -> Any:
    def checked(content: dict[str, Any]) -> Report:
        file = tmp_path / "template.yaml"
        file.write_text(yaml.safe_dump(content))
        return check_template(file)

    return checked


def rules(report: Report) -> list[str]:
    return sorted(finding.rule for finding in report.findings)


def left(report: Report) -> set[str]:
    """Return the rules that something was not known for."""
    return {rule for note in report.not_known for rule in note.rules}


def found(report: Report) -> tuple[list[str], set[str]]:
    return rules(report), left(report)


def test_the_template_of_these_tests_passes(check: Any):
    """So what is found below is what a test has put in."""
    report = check(template())
    assert rules(report) == []
    assert report.not_known == ()
    assert report.mappings == 1


@pytest.mark.parametrize(
    ("changes", "looked_past"),
    [
        ({"queue": {"VisibilityTimeout": OPEN}}, {"FF003", "FF004"}),
        ({"queue": {"FifoQueue": OPEN}}, {"FF009", "FF010"}),
        ({"queue": {"MessageRetentionPeriod": OPEN}}, {"FF009"}),
        ({"queue": {"RedrivePolicy": OPEN}}, {"FF007", "FF008"}),
        ({"queue": {"RedrivePolicy": {"Fn::Sub": '{"maxReceiveCount": ${Open}'}}}, {"FF007", "FF008"}),
        ({"queue": {"RedrivePolicy": "no JSON"}}, {"FF007", "FF008"}),
        ({"dead": {"MessageRetentionPeriod": OPEN}}, {"FF009"}),
        ({"dead": {"FifoQueue": "perhaps"}}, {"FF010"}),
        ({"function": {"MemorySize": OPEN}}, set()),
        ({"event": {"Enabled": OPEN}}, set()),
        ({"function": {"Timeout": OPEN}}, {"FF003", "FF004"}),
        ({"function": {"Timeout": ["a", "list"]}}, {"FF003", "FF004"}),
        ({"function": {"Timeout": "Infinity"}}, {"FF003", "FF004"}),
        ({"event": {"FunctionResponseTypes": OPEN}}, {"FF001"}),
        ({"event": {"FunctionResponseTypes": OPEN, "BatchSize": 1}}, {"FF002"}),
        ({"event": {"BatchSize": OPEN}}, {"FF005"}),
        ({"event": {"BatchSize": 100, "MaximumBatchingWindowInSeconds": OPEN}}, {"FF004", "FF005"}),
        ({"event": {"ScalingConfig": OPEN}}, {"FF011"}),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": OPEN}}}, {"FF011"}),
        (
            {"event": {"ScalingConfig": {"MaximumConcurrency": OPEN}}, "function": {"ReservedConcurrentExecutions": 5}},
            {"FF011", "FF012"},
        ),
        (
            {"event": {"ScalingConfig": {"MaximumConcurrency": 5}}, "function": {"ReservedConcurrentExecutions": OPEN}},
            {"FF012"},
        ),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": 5}, "ProvisionedPollerConfig": OPEN}}, {"FF013"}),
    ],
)
def test_a_setting_that_is_not_known_is_said_and_is_no_finding(check: Any, changes: Any, looked_past: set[str]):
    """Nothing is guessed, and no rule that can do without it is left out."""
    assert found(check(template(**changes))) == ([], looked_past)


def test_what_fanfold_is_told_may_be_open(check: Any):
    """The concurrency, a queue's URL, what a role allows, whether a recursion is allowed."""
    variables = environment(FANFOLD_CONCURRENCY=OPEN, FANFOLD_DEAD_LETTER_QUEUE_URL=OPEN)
    assert found(check(template(function=variables | {"Policies": [OPEN]}))) == ([], {"FF014", "FF015", "FF016"})
    assert found(check(template(function={"Policies": [SENDS], "RecursiveLoop": OPEN}))) == ([], {"FF019"})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"queue": {"VisibilityTimeout": 9}}, ["FF003"]),
        ({"queue": {"VisibilityTimeout": 10}}, ["FF004"]),
        ({"queue": {"VisibilityTimeout": 59}}, ["FF004"]),
        ({"queue": {"VisibilityTimeout": 9}, "event": {"MaximumBatchingWindowInSeconds": OPEN}}, ["FF003"]),
        ({"event": {"BatchSize": 11}}, ["FF005"]),
        ({"event": {"BatchSize": 11, "MaximumBatchingWindowInSeconds": 0}}, ["FF005"]),
        ({"event": {"BatchSize": 11, "MaximumBatchingWindowInSeconds": 1}, "queue": {"VisibilityTimeout": 61}}, []),
        ({"queue": {"RedrivePolicy": QUEUE["RedrivePolicy"] | {"maxReceiveCount": 4}}}, ["FF008"]),
        ({"queue": {"RedrivePolicy": {}}}, ["FF007"]),
        ({"queue": {"RedrivePolicy": {"Ref": "AWS::NoValue"}}}, ["FF007"]),
        ({"dead": {"MessageRetentionPeriod": 345600}}, ["FF009"]),
        ({"dead": {"MessageRetentionPeriod": 345601}}, []),
        ({"dead": {"FifoQueue": True, "QueueName": "dead.fifo"}}, ["FF010"]),
        ({"dead": {"QueueName": "dead.fifo"}}, ["FF010"]),
        ({"queue": {"FifoQueue": True}, "dead": FIFO_DEAD, "event": {"BatchSize": 10}}, []),
        ({"queue": {"FifoQueue": True}, "dead": FIFO_DEAD, "event": {"BatchSize": 11}}, ["FF006"]),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": 2}}}, []),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": 5}}, "function": {"ReservedConcurrentExecutions": 5}}, []),
        (
            {"event": {"ScalingConfig": {"MaximumConcurrency": 6}}, "function": {"ReservedConcurrentExecutions": 5}},
            ["FF012"],
        ),
        ({"function": told(FANFOLD_CONCURRENCY=200) | {"MemorySize": 128}}, []),
        ({"function": told(FANFOLD_CONCURRENCY=201) | {"MemorySize": 128}}, ["FF014"]),
        ({"function": told(FANFOLD_QUEUE_URL="")}, []),
        ({"function": told(FANFOLD_DEAD_LETTER_QUEUE_URL="")}, []),
        ({"function": told(FANFOLD_DEAD_LETTER_QUEUE_URL={"Ref": "Dead"})}, ["FF016"]),
        ({"function": {"Policies": [SENDS], "RecursiveLoop": "Allow"}}, []),
        ({"function": {"Policies": [SENDS], "RecursiveLoop": "Terminate"}}, ["FF019"]),
        ({"function": {"Policies": [SENDS], "FunctionUrlConfig": {"AuthType": "AWS_IAM"}}}, []),
        ({"function": told(FANFOLD_QUEUE_URL=""), "event": {"BatchSize": 1, "FunctionResponseTypes": []}}, ["FF001"]),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": 1}}}, ["FF011"]),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": 1001}}}, ["FF011"]),
        ({"event": {"ScalingConfig": {"MaximumConcurrency": 1000}}}, []),
        ({"event": {"ScalingConfig": {}, "ProvisionedPollerConfig": {"MinimumPollers": 2}}}, []),
        ({"event": {"BatchSize": 10}, "queue": {"MaximumMessageSize": 1048576}}, ["FF018"]),
        ({"event": {"BatchSize": 6}, "queue": {"MaximumMessageSize": 1048576}}, []),
        ({"queue": {"MaximumMessageSize": 1048576}}, []),
        ({"event": {"BatchSize": 1, "FunctionResponseTypes": []}}, ["FF002"]),
        ({"event": {"BatchSize": 2, "FunctionResponseTypes": ["Other"]}}, ["FF001"]),
        (
            {"event": {"ScalingConfig": {"MaximumConcurrency": 9}}, "function": {"ReservedConcurrentExecutions": 0}},
            [],  # reserved nothing: the function is switched off on purpose
        ),
        (
            {
                "event": {"ScalingConfig": {"MaximumConcurrency": 9}, "Enabled": False},
                "function": {"ReservedConcurrentExecutions": 5},
            },
            [],
        ),
    ],
)
def test_the_edges_of_the_rules(check: Any, changes: Any, found: list[str]):
    """On one side nothing, on the other a finding."""
    assert rules(check(template(**changes))) == found


def test_what_is_said_names_the_value_and_whether_it_is_the_default(check: Any):
    """In CloudFormation's words, numbers with their unit."""
    report = check(template(event={"BatchSize": 1000, "FunctionResponseTypes": ["Other"]}))
    assert {each.rule: (each.actual, each.recommended) for each in report.findings} == {
        "FF001": (
            "FunctionResponseTypes Other: an answer that names failed messages is ignored and all are deleted",
            "[ReportBatchItemFailures]",
        ),
        "FF005": ("BatchSize 1,000 with MaximumBatchingWindowInSeconds 0 s (the default)", "a window of 1 to 300 s"),
    }
    (finding,) = check(template(event={"BatchSize": 1000, "MaximumBatchingWindowInSeconds": 7})).findings
    assert finding.actual == "VisibilityTimeout 60 s; Timeout 10 s of Do, MaximumBatchingWindowInSeconds 7 s"
    assert finding.recommended == "at least 67 s (6 x 10 s + 7 s window)"


def test_what_is_said_of_permissions_and_of_long_retention(check: Any):
    """Who may not do what, and what to lower when nothing can be raised."""
    report = check(template(function=environment(FANFOLD_DEAD_LETTER_QUEUE_URL={"Ref": "Dead"})))
    found = {each.rule: each.actual for each in report.findings}
    assert found["FF015"].startswith("Do is not allowed sqs:ChangeMessageVisibility on Jobs: a backoff")
    assert found["FF016"] == "Do is told FANFOLD_DEAD_LETTER_QUEUE_URL Dead, and is not allowed sqs:SendMessage there"
    (finding,) = check(template(queue={"MessageRetentionPeriod": 1209600})).findings
    assert finding.recommended == "below 14 days in Jobs, 14 days here"
    (finding,) = check(
        template(queue={"MessageRetentionPeriod": 1209599}, dead={"MessageRetentionPeriod": 60})
    ).findings
    assert finding.recommended == "more than the source's, such as 1,209,600 s (14 days)"


def test_a_fifo_queue_of_another_stack_is_told_by_its_arn(check: Any):
    """All else of it is not known."""
    event = {"Queue": "arn:aws:sqs:eu-west-1:1:steps.fifo", "BatchSize": 11, "MaximumBatchingWindowInSeconds": 1}
    report = check(template(event=event))
    assert found(report) == (["FF006", "FF006"], {"FF003", "FF004", "FF007", "FF008"})
    assert report.not_known[0].why == "steps.fifo is not in this template"


def test_a_fifo_queue_may_have_an_open_batch_size(check: Any):
    """What is known of it is judged all the same."""
    names = {"FifoQueue": True}
    assert found(
        check(template(queue=names, dead=names, event={"BatchSize": OPEN, "MaximumBatchingWindowInSeconds": 1}))
    ) == (["FF004", "FF006"], {"FF006"})


def test_a_dead_letter_queue_of_another_stack_is_one(check: Any):
    """Its retention cannot be compared, its type only if the ARN tells it; nothing is said of either."""
    redrive = {"deadLetterTargetArn": {"Fn::ImportValue": "dead"}, "maxReceiveCount": 5}
    assert found(check(template(queue={"RedrivePolicy": redrive}))) == ([], set())


def test_a_queue_of_the_same_name_in_an_account_that_is_written_out_is_another_one(check: Any):
    """It may be this one, which nobody can know; so it may get dead letters, and is judged as neither."""
    named = {"QueueName": "jobs", "VisibilityTimeout": 1}
    other = "arn:aws:sqs:eu-west-1:123456789012:jobs"
    assert found(check(template(queue=named, event={"Queue": other}))) == ([], {"FF003", "FF004", "FF007", "FF008"})
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead", "maxReceiveCount": 5}
    report = check(
        template(
            queue={"RedrivePolicy": redrive},
            dead={"QueueName": "dead", "VisibilityTimeout": 60, "MessageRetentionPeriod": 60},
            event={"Queue": {"Fn::GetAtt": ["Dead", "Arn"]}},
        )
    )
    assert rules(report) == []
    ours = {"Fn::Sub": "arn:aws:sqs:${AWS::Region}:${AWS::AccountId}:jobs"}
    assert rules(check(template(queue=named, event={"Queue": ours}))) == ["FF003"]


def test_a_mapping_that_may_not_be_enabled_is_no_second_reader(check: Any):
    """It is said that this is not known."""
    second = {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]},
            "FunctionName": {"Ref": "Do"},
            "FunctionResponseTypes": REPORT,
            "Enabled": OPEN,
        },
    }
    assert found(check(template(Second=second))) == ([], {"FF017"})


def test_policies_that_may_not_exist_or_are_not_known_leave_a_doubt(check: Any):
    """What they allow is not taken for granted, nor missed."""
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}
    sends = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    policy: dict[str, Any] = {
        "Type": "AWS::IAM::Policy",
        "Condition": "OpenToo",
        "Properties": {"PolicyName": "p", "Roles": [{"Ref": "Role"}], "PolicyDocument": {"Statement": [sends]}},
    }
    told = environment(FANFOLD_MAX_RECEIVE_COUNT=5) | {"Role": {"Fn::GetAtt": ["Role", "Arn"]}}
    report = check(template(function=told, Role=role, Policy=policy))
    assert left(report) == {"FF015"}
    del policy["Condition"]
    assert left(check(template(function=told, Role=role, Policy=policy))) == set()
    policy["Properties"]["PolicyDocument"] = OPEN
    assert left(check(template(function=told, Role=role, Policy=policy))) == {"FF015"}
    policy["Properties"]["PolicyDocument"] = {"Statement": {"Fn::If": ["Nobody", 1, 2]}}
    assert left(check(template(function=told, Role=role, Policy=policy))) == {"FF015"}
    role["Properties"] = {"RoleName": "consumer", "ManagedPolicyArns": ["arn:aws:iam::1:policy/ours"]}
    policy["Properties"] = {"Roles": ["other"], "PolicyDocument": {"Statement": [sends]}}
    assert left(check(template(function=told, Role=role, Policy=policy))) == {"FF015"}
    policy["Properties"]["Roles"] = ["consumer"]
    assert left(check(template(function=told, Role=role, Policy=policy))) == set()


def test_a_queue_policy_that_allows_accounts_leaves_a_doubt(check: Any):
    """A policy for AWS's services does not."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": "sqs:*", "Principal": {"AWS": "*"}, "Resource": "*"}
    policy = {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {"Queues": [{"Ref": "Jobs"}], "PolicyDocument": {"Statement": [statement]}},
    }
    told = environment(FANFOLD_MAX_RECEIVE_COUNT=5)
    assert left(check(template(function=told, Policy=policy))) == {"FF015"}
    statement["Principal"] = {"Service": "sns.amazonaws.com"}
    assert rules(check(template(function=told, Policy=policy))) == ["FF015"]
    policy["Properties"]["PolicyDocument"] = OPEN
    assert left(check(template(function=told, Policy=policy))) == {"FF015"}


def test_what_sam_cannot_translate_is_said(check: Any):
    """A function with a broken policy is judged without it, and nothing is said of what it may do."""
    told = environment(FANFOLD_MAX_RECEIVE_COUNT=5)
    report = check(template(function=told | {"Policies": [{"NoSuchPolicy": {}}]}))
    assert rules(report) == []
    (note,) = report.not_known
    assert note.subject == "what becomes of Do"
    assert note.why.startswith("SAM cannot translate it")
    assert report.mappings == 0
    assert note.place.line > 1


def test_a_role_of_the_users_own_that_is_called_as_sam_would_call_it_is_the_users(check: Any):
    """Its place is where it is written."""
    role = {"Type": "AWS::IAM::Role", "Condition": "Nobody", "Properties": {"AssumeRolePolicyDocument": {}}}
    content = template(function={"Role": {"Fn::GetAtt": ["DoRole", "Arn"]}}, DoRole=role)
    with pytest.raises(ConfigurationError, match=r":(\d+) DoRole: there is no condition Nobody") as raised:
        check(content)
    line = int(str(raised.value).split(":")[1].split()[0])
    assert yaml.safe_dump(content).splitlines()[line - 1].strip() == "Condition: Nobody"


def test_a_finding_on_a_global_setting_points_to_the_globals(check: Any):
    """Lines are those of the file, not of what SAM makes of it."""
    content = template(function=environment(FANFOLD_CONCURRENCY=900, FANFOLD_QUEUE_URL={"Ref": "Jobs"}))
    content["Globals"] = {"Function": {"MemorySize": 128}}
    report = check(content)
    (finding,) = [each for each in report.findings if each.rule == "FF014"]
    assert Path(report.template).read_text().splitlines()[finding.place.line - 1].strip() == "MemorySize: 128"
    assert finding.actual == "MemorySize 128 MB for FANFOLD_CONCURRENCY 900"
