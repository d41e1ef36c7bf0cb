"""The rules of ``fanfold check`` on single settings: unusual values, unknown values, and boundaries."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from checked import FIFO_DEAD, OPEN, QUEUE, REPORT, SENDS, consumer, environment, outcome, rules, template, unchecked
from fanfold.check.rules import RULES, table


def test_the_template_of_these_tests_passes(check: Any):
    """Findings in the tests below come from the changes they make."""
    report = check(template())
    assert rules(report) == []
    assert report.not_known == ()
    assert report.mappings == 1


@pytest.mark.parametrize(
    ("changes", "not_checked"),
    [
        ({"queue": {"VisibilityTimeout": OPEN}}, {"FF003", "FF004"}),
        ({"queue": {"FifoQueue": OPEN}}, {"FF009", "FF010"}),
        ({"queue": {"MessageRetentionPeriod": OPEN}}, {"FF009"}),
        ({"queue": {"RedrivePolicy": OPEN}}, {"FF007", "FF008"}),
        ({"queue": {"RedrivePolicy": {"Fn::Sub": '{"maxReceiveCount": ${Open}'}}}, {"FF007", "FF008"}),
        ({"queue": {"RedrivePolicy": "not JSON"}}, {"FF007", "FF008"}),
        ({"dead": {"MessageRetentionPeriod": OPEN}}, {"FF009"}),
        ({"dead": {"FifoQueue": "perhaps"}}, {"FF010"}),
        ({"function": {"MemorySize": OPEN}}, set()),
        ({"event": {"Enabled": OPEN}}, {"FF030"}),
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
def test_an_unknown_setting_is_reported_and_is_not_a_finding(check: Any, changes: Any, not_checked: set[str]):
    """No value is guessed, and rules that do not need the setting are checked."""
    assert outcome(check(template(**changes))) == ([], not_checked)


def test_fanfolds_own_settings_may_be_unknown(check: Any):
    """The concurrency, a queue URL, a role's permissions, and RecursiveLoop."""
    variables = environment(FANFOLD_CONCURRENCY=OPEN, FANFOLD_DEAD_LETTER_QUEUE_URL=OPEN)
    assert outcome(check(template(function=variables | {"Policies": [OPEN]}))) == ([], {"FF014", "FF015", "FF016"})
    assert outcome(check(template(function={"Policies": [SENDS], "RecursiveLoop": OPEN}))) == ([], {"FF019"})


@pytest.mark.parametrize(
    ("changes", "expected"),
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
        ({"function": consumer(FANFOLD_CONCURRENCY=200) | {"MemorySize": 128}}, []),
        ({"function": consumer(FANFOLD_CONCURRENCY=201) | {"MemorySize": 128}}, ["FF014"]),
        ({"function": consumer(FANFOLD_CONCURRENCY="auto") | {"MemorySize": 128}}, []),
        ({"function": consumer(FANFOLD_QUEUE_URL="")}, []),
        ({"function": consumer(FANFOLD_DEAD_LETTER_QUEUE_URL="")}, []),
        ({"function": consumer(FANFOLD_DEAD_LETTER_QUEUE_URL={"Ref": "Dead"})}, ["FF016"]),
        ({"function": {"Policies": [SENDS], "RecursiveLoop": "Allow"}}, []),
        ({"function": {"Policies": [SENDS], "RecursiveLoop": "Terminate"}}, ["FF019"]),
        ({"function": {"Policies": [SENDS], "FunctionUrlConfig": {"AuthType": "AWS_IAM"}}}, []),
        (
            {"function": consumer(FANFOLD_QUEUE_URL=""), "event": {"BatchSize": 1, "FunctionResponseTypes": []}},
            ["FF001"],
        ),
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
            ["FF022"],  # every delivery is throttled
        ),
        (
            {
                "event": {"ScalingConfig": {"MaximumConcurrency": 9}, "Enabled": False},
                "function": {"ReservedConcurrentExecutions": 5},
            },
            ["FF030"],
        ),
    ],
)
@pytest.mark.uncounted
def test_the_boundaries_of_the_rules(check: Any, changes: Any, expected: list[str]):
    """A value on one side of a limit passes; a value on the other side is a finding."""
    assert rules(check(template(**changes))) == expected


def test_a_finding_names_the_setting_the_value_and_the_effect(check: Any):
    """With CloudFormation's name, the unit, and whether the value is the default."""
    report = check(template(event={"BatchSize": 1000, "FunctionResponseTypes": ["Other"]}))
    assert {finding.rule: (finding.actual, finding.recommended) for finding in report.findings} == {
        "FF001": (
            "FunctionResponseTypes Other: Lambda ignores reported failures, and deletes the whole batch",
            "[ReportBatchItemFailures]",
        ),
        "FF005": (
            "BatchSize 1,000 with MaximumBatchingWindowInSeconds 0 s (the default): Lambda rejects the mapping",
            "a MaximumBatchingWindowInSeconds of 1 to 300 s, or a BatchSize of at most 10",
        ),
    }
    (finding,) = check(template(event={"BatchSize": 1000, "MaximumBatchingWindowInSeconds": 7})).findings
    assert finding.actual == (
        "VisibilityTimeout 60 s, with Timeout 10 s of Do and MaximumBatchingWindowInSeconds 7 s: messages of throttled "
        "batches can be redelivered before they were tried"
    )
    assert finding.recommended == "at least 67 s (6 x 10 s + 7 s window)"


def test_findings_about_permissions_and_about_the_longest_retention(check: Any):
    """They name the function, the action, and the queue; at 14 days, the source queue's retention has to be lowered."""
    report = check(template(function=environment(FANFOLD_DEAD_LETTER_QUEUE_URL={"Ref": "Dead"})))
    actual = {finding.rule: finding.actual for finding in report.findings}
    assert actual["FF015"].startswith(
        "Do is not allowed sqs:ChangeMessageVisibility on Jobs: if its code uses a backoff"
    )
    assert actual["FF016"] == (
        "Do is not allowed sqs:SendMessage on Dead, its FANFOLD_DEAD_LETTER_QUEUE_URL: a rejected message is retried "
        "until its maxReceiveCount, and the reason is lost"
    )
    (finding,) = check(template(queue={"MessageRetentionPeriod": 1209600})).findings
    assert finding.recommended == "less than 14 days in Jobs, and 14 days here"
    (finding,) = check(
        template(queue={"MessageRetentionPeriod": 1209599}, dead={"MessageRetentionPeriod": 60})
    ).findings
    assert finding.recommended == "longer than in Jobs, such as 1,209,600 s (14 days)"


def test_a_fifo_queue_of_another_stack_is_recognized_by_its_arn(check: Any):
    """Its other settings are not known."""
    event = {"Queue": "arn:aws:sqs:eu-west-1:1:steps.fifo", "BatchSize": 11, "MaximumBatchingWindowInSeconds": 1}
    report = check(template(event=event))
    assert outcome(report) == (["FF006", "FF006"], {"FF003", "FF004", "FF007", "FF008"})
    assert report.not_known[0].why == "steps.fifo is not in this template"


def test_a_fifo_queue_may_have_an_unknown_batch_size(check: Any):
    """Its known settings are checked."""
    fifo = {"FifoQueue": True}
    assert outcome(
        check(template(queue=fifo, dead=fifo, event={"BatchSize": OPEN, "MaximumBatchingWindowInSeconds": 1}))
    ) == (["FF004", "FF006"], {"FF006"})


def test_a_dead_letter_queue_of_another_stack_counts(check: Any):
    """Its retention period and type are not compared, and not reported."""
    redrive = {"deadLetterTargetArn": {"Fn::ImportValue": "dead"}, "maxReceiveCount": 5}
    assert outcome(check(template(queue={"RedrivePolicy": redrive}))) == ([], set())


def test_an_arn_with_an_explicit_account_id_is_not_a_queue_of_the_template(check: Any):
    """It may be the queue of that name in the template, so that queue may receive dead-lettered messages."""
    named = {"QueueName": "jobs", "VisibilityTimeout": 1}
    other = "arn:aws:sqs:eu-west-1:123456789012:jobs"
    assert outcome(check(template(queue=named, event={"Queue": other}))) == ([], {"FF003", "FF004", "FF007", "FF008"})
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead", "maxReceiveCount": 5}
    report = check(
        template(
            queue={"RedrivePolicy": redrive},
            dead={"QueueName": "dead", "VisibilityTimeout": 60, "MessageRetentionPeriod": 60},
            event={"Queue": {"Fn::GetAtt": ["Dead", "Arn"]}},
        )
    )
    assert rules(report) == []
    own = {"Fn::Sub": "arn:aws:sqs:${AWS::Region}:${AWS::AccountId}:jobs"}
    assert rules(check(template(queue=named, event={"Queue": own}))) == ["FF003"]


def test_a_mapping_that_may_be_disabled_is_not_a_second_reader(check: Any):
    """Its ``Enabled`` is reported as not known."""
    second = {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]},
            "FunctionName": {"Ref": "Do"},
            "FunctionResponseTypes": REPORT,
            "Enabled": OPEN,
        },
    }
    assert outcome(check(template(Second=second))) == ([], {"FF017"})


def test_policies_that_may_not_exist_or_are_not_known_leave_a_doubt(check: Any):
    """Their permissions are neither assumed nor ruled out."""
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {}}}
    sends = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    policy: dict[str, Any] = {
        "Type": "AWS::IAM::Policy",
        "Condition": "OpenToo",
        "Properties": {"PolicyName": "p", "Roles": [{"Ref": "Role"}], "PolicyDocument": {"Statement": [sends]}},
    }
    function = environment(FANFOLD_MAX_RECEIVE_COUNT=5) | {"Role": {"Fn::GetAtt": ["Role", "Arn"]}}
    report = check(template(function=function, Role=role, Policy=policy))
    assert unchecked(report) == {"FF015", "FF023"}
    del policy["Condition"]
    assert unchecked(check(template(function=function, Role=role, Policy=policy))) == set()
    policy["Properties"]["PolicyDocument"] = OPEN
    assert unchecked(check(template(function=function, Role=role, Policy=policy))) == {"FF015", "FF023"}
    policy["Properties"]["PolicyDocument"] = {"Statement": {"Fn::If": ["Nobody", 1, 2]}}
    assert unchecked(check(template(function=function, Role=role, Policy=policy))) == {"FF015", "FF023"}
    role["Properties"] = {"RoleName": "consumer", "ManagedPolicyArns": ["arn:aws:iam::1:policy/ours"]}
    policy["Properties"] = {"Roles": ["other"], "PolicyDocument": {"Statement": [sends]}}
    assert unchecked(check(template(function=function, Role=role, Policy=policy))) == {"FF015", "FF023"}
    policy["Properties"]["Roles"] = ["consumer"]
    assert unchecked(check(template(function=function, Role=role, Policy=policy))) == set()


def test_a_queue_policy_that_allows_accounts_leaves_a_doubt(check: Any):
    """A policy that allows only AWS services, or only other actions, leaves no doubt."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": "sqs:*", "Principal": {"AWS": "*"}, "Resource": "*"}
    policy = {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {"Queues": [{"Ref": "Jobs"}], "PolicyDocument": {"Statement": [statement]}},
    }
    function = environment(FANFOLD_MAX_RECEIVE_COUNT=5)
    assert unchecked(check(template(function=function, Policy=policy))) == {"FF015"}
    statement["Action"] = {"Ref": "Actions"}
    assert unchecked(check(template(function=function, Policy=policy))) == {"FF015"}
    statement["Action"] = "sqs:SendMessage"
    assert rules(check(template(function=function, Policy=policy))) == ["FF015"], "it allows only another action"
    statement["Action"] = "sqs:*"
    statement["Principal"] = {"Service": "sns.amazonaws.com"}
    assert rules(check(template(function=function, Policy=policy))) == ["FF015"]
    policy["Properties"]["PolicyDocument"] = OPEN
    assert unchecked(check(template(function=function, Policy=policy))) == {"FF015"}


def test_a_function_that_sam_cannot_translate_is_reported(check: Any):
    """A function with an invalid policy is reported once, and has no findings about permissions."""
    function = environment(FANFOLD_MAX_RECEIVE_COUNT=5)
    report = check(template(function=function | {"Policies": [{"NoSuchPolicy": {}}]}))
    assert rules(report) == []
    (note,) = report.not_known
    assert note.subject == "the translation of Do"
    assert note.why.startswith("SAM cannot translate it")
    assert report.mappings == 0
    assert note.place.line > 1


def test_a_role_with_the_name_that_sam_would_generate_is_the_users(check: Any):
    """Its place is the line where the user defines it."""
    role = {"Type": "AWS::IAM::Role", "Condition": "Nobody", "Properties": {"AssumeRolePolicyDocument": {}}}
    content = template(function={"Role": {"Fn::GetAtt": ["DoRole", "Arn"]}}, DoRole=role)
    (note,) = [note for note in check(content).not_known if "DoRole" in note.subject]
    assert note.why == "condition Nobody is not defined in the template"
    assert yaml.safe_dump(content).splitlines()[note.place.line - 1].strip() == "Condition: Nobody"


def test_a_finding_on_a_global_setting_points_to_the_globals(check: Any):
    """Lines refer to the file, not to SAM's output."""
    content = template(function=environment(FANFOLD_CONCURRENCY=900, FANFOLD_QUEUE_URL={"Ref": "Jobs"}))
    content["Globals"] = {"Function": {"MemorySize": 128}}
    report = check(content)
    (finding,) = [finding for finding in report.findings if finding.rule == "FF014"]
    assert Path(report.template).read_text().splitlines()[finding.place.line - 1].strip() == "MemorySize: 128"
    assert finding.actual == (
        "MemorySize 128 MB for FANFOLD_CONCURRENCY 900: if the process runs out of memory, the whole batch is "
        "redelivered"
    )


def test_the_table_of_rules_links_the_page_of_each():
    """The documentation contains it."""
    rows = table("rules").splitlines()[2:]
    assert len(rows) == len(RULES)
    assert rows[0].startswith("| [FF001](rules/FF001.md) | error | ")
