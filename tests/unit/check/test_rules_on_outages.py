"""The rule of ``fanfold check`` about outages: boundaries, breakers, unknown values, and its text."""

from typing import Any

import pytest

from checked import OPEN, QUEUE, consumer, outcome, rules, template
from command import fanfold
from fanfold.check.on_outages import BREAKER_TABLE, RECEIVES

BREAKER = consumer(**{BREAKER_TABLE: "breakers"})


def receives(number: int) -> dict[str, Any]:
    return {"RedrivePolicy": QUEUE["RedrivePolicy"] | {"maxReceiveCount": number}}


def test_an_outage_is_checked_only_if_its_length_is_stated(check: Any):
    """Most queues survive a few minutes, which is right for many of them."""
    assert rules(check(template())) == []
    assert rules(check(template(), outage_seconds=900)) == ["FF035"]


@pytest.mark.parametrize(
    ("changes", "outage", "expected"),
    [
        ({}, 240, []),  # 4 x 60 s
        ({}, 241, ["FF035"]),
        ({"queue": {"VisibilityTimeout": 225}}, 900, []),
        ({"queue": receives(16)}, 900, []),
        ({"queue": {"RedrivePolicy": {}}}, 900, ["FF007"]),  # redelivered until it expires
        ({"queue": {"MessageRetentionPeriod": 899}}, 900, ["FF035"]),
        ({"function": BREAKER}, 43_200, []),
        ({"function": BREAKER}, 86_400, []),  # with a larger outage_budget
        ({"function": BREAKER, "queue": {"MessageRetentionPeriod": 3600}}, 7200, ["FF035"]),
        ({"function": BREAKER, "queue": receives(2)}, 900, ["FF008", "FF035"]),
        ({"function": BREAKER, "queue": receives(3)}, 900, ["FF008"]),
        ({"function": consumer(**{BREAKER_TABLE: ""})}, 900, ["FF035"]),
        ({"function": consumer(**{BREAKER_TABLE: OPEN})}, 900, []),  # whatever its name is
    ],
)
def test_the_boundaries_of_an_outage(check: Any, changes: Any, outage: float, expected: list[str]):
    """Without a breaker, the settings of the queue decide; with one, its retention period and receives."""
    findings = [
        rule for rule in rules(check(template(**changes), outage_seconds=outage)) if rule not in {"FF015", "FF036"}
    ]
    assert findings == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"queue": {"VisibilityTimeout": OPEN}},
        {"queue": {"RedrivePolicy": OPEN}},
        {"queue": {"MessageRetentionPeriod": OPEN}},
        {"function": {"Environment": {"Variables": OPEN}}},
    ],
)
def test_an_unknown_setting_is_reported_instead_of_an_outage(check: Any, changes: Any):
    """It may be that the settings survive it."""
    findings, unchecked = outcome(check(template(**changes), outage_seconds=900))
    assert "FF035" not in findings
    assert "FF035" in unchecked


def test_the_finding_states_what_the_settings_survive_and_three_ways_to_survive_more(check: Any):
    """The time is in minutes, the recommended values in the units of AWS."""
    (finding,) = check(template(), outage_seconds=900).findings
    assert finding.actual == (
        "VisibilityTimeout 60 s, maxReceiveCount 5: a healthy message uses its last receive after 4 min of an outage, "
        "and is dead-lettered"
    )
    assert finding.recommended == (
        "a breaker (FANFOLD_BREAKER_TABLE), with a maxReceiveCount of 5 or more, or a VisibilityTimeout of 225 s, or a "
        "maxReceiveCount of 16"
    )


@pytest.mark.parametrize(
    ("changes", "outage", "actual", "recommended"),
    [
        (
            {"queue": {"MessageRetentionPeriod": 1800, "VisibilityTimeout": 900}},
            7200,
            "MessageRetentionPeriod 1,800 s: SQS deletes messages after 30 min of an outage",
            "longer than an outage of 2 h",
        ),
        (
            {"queue": receives(2), "function": BREAKER},
            7200,
            (
                "VisibilityTimeout 60 s, maxReceiveCount 2, with a breaker: a message that fails before it opens can "
                "survive only 1 min"
            ),
            "a maxReceiveCount of at least 5",
        ),
        (
            {"queue": receives(5) | {"VisibilityTimeout": 10}, "function": BREAKER},
            43_200,
            (
                "VisibilityTimeout 10 s, maxReceiveCount 5, with a breaker: a message that fails before it opens can "
                "survive only 11 h 45 min"
            ),
            "a maxReceiveCount of at least 6",
        ),
        (
            {"queue": receives(1)},
            1_000_000,
            (
                "VisibilityTimeout 60 s, maxReceiveCount 1: a healthy message uses its last receive after 0 s of an "
                "outage, and is dead-lettered"
            ),
            "a breaker (FANFOLD_BREAKER_TABLE), with a maxReceiveCount of 5 or more",
        ),
    ],
)
def test_only_settings_that_sqs_accepts_are_recommended(
    check: Any, changes: Any, outage: float, actual: str, recommended: str
):
    """Visibility timeouts end at 12 hours, and receives at 1,000."""
    findings = check(template(**changes), outage_seconds=outage).findings
    (finding,) = [finding for finding in findings if finding.rule == "FF035"]
    assert (finding.actual, finding.recommended) == (actual, recommended)


@pytest.mark.parametrize(
    ("variables", "queue", "expected"),
    [
        ({}, {}, ["FF036"]),
        ({RECEIVES: "5"}, {}, []),
        ({RECEIVES: 5}, {}, []),
        ({RECEIVES: "1000"}, receives(1000), []),
        ({RECEIVES: "4"}, {}, ["FF036"]),
        ({RECEIVES: "5"}, receives(6), ["FF036"]),
        ({RECEIVES: "5"}, {"RedrivePolicy": {}}, ["FF007"]),
        ({RECEIVES: "5", BREAKER_TABLE: ""}, receives(6), []),
    ],
)
def test_a_breaker_has_to_know_the_receives_of_the_queue(check: Any, variables: Any, queue: Any, expected: list[str]):
    """It saves a message before its last receive is used up."""
    report = check(template(function=consumer(**({BREAKER_TABLE: "breakers"} | variables)), queue=queue))
    assert [rule for rule in rules(report) if rule != "FF015"] == expected


@pytest.mark.parametrize(("variables", "queue"), [({RECEIVES: OPEN}, {}), ({RECEIVES: "5"}, {"RedrivePolicy": OPEN})])
def test_unknown_receives_of_a_breaker_are_reported_as_not_known(check: Any, variables: Any, queue: Any):
    """Neither is a finding."""
    function = consumer(**({BREAKER_TABLE: "breakers"} | variables))
    findings, unchecked = outcome(check(template(function=function, queue=queue)))
    assert "FF036" not in findings
    assert "FF036" in unchecked


def test_the_finding_about_receives_names_the_variable_the_queue_and_the_number(check: Any):
    """It states the place of the variable, or of the function if that is missing."""
    findings = check(template(function=BREAKER)).findings
    (finding,) = [finding for finding in findings if finding.rule == "FF036"]
    assert finding.actual == (
        "FANFOLD_MAX_RECEIVE_COUNT is not set, but Jobs has maxReceiveCount 5: the breaker does not know which "
        "messages are on their last receive"
    )
    assert finding.recommended == 'FANFOLD_MAX_RECEIVE_COUNT: "5"'


def test_the_command_takes_the_outage_in_seconds(tmp_path: Any):
    """Its exit code is 1 if a queue does not survive it."""
    text = "Resources: {Jobs: {Type: 'AWS::SQS::Queue'}, Do: {Type: 'AWS::Lambda::Function', Properties: {}}, Map: "
    text += "{Type: 'AWS::Lambda::EventSourceMapping', Properties: {EventSourceArn: !GetAtt Jobs.Arn, FunctionName: "
    text += "!Ref Do, FunctionResponseTypes: [ReportBatchItemFailures]}}}"
    (tmp_path / "template.yaml").write_text(text)
    options = ("--outage", "500000", "--ignore", "FF023", "--ignore", "FF007")
    done = fanfold("check", "template.yaml", *options, folder=tmp_path)
    assert done.returncode == 1
    assert "FF035" in done.stdout
    assert "after 4 d of an outage" in " ".join(done.stdout.split())
