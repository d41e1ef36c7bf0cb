"""The rule of ``fanfold check`` about outages: boundaries, breakers, unknown values, and its text."""

from typing import Any

import pytest

from checked import OPEN, QUEUE, consumer, outcome, rules, template
from command import fanfold
from fanfold.check.on_outages import BREAKER_TABLE

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
    findings = [rule for rule in rules(check(template(**changes), outage_seconds=outage)) if rule != "FF015"]
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
                "survive only 30 s"
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
