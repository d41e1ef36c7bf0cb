"""The permissions that policies grant a function on a queue."""

from typing import Any

import pytest

from fanfold.check.permissions import MANAGED, grants_of, is_allowed, names_queue
from fanfold.check.unresolved import parsed
from fanfold.check.values import Grant, Permissions, Place, Queue, Setting

PLACE = Place(("Resources", "Jobs"))
NOTHING: Setting[Any] = Setting("", None, PLACE)
SEND = "sqs:SendMessage"


def queue(*names: str, key: str = "Jobs", open_grants: tuple[Grant, ...] = ()) -> Queue:
    return Queue(
        key, PLACE, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING,
        names=tuple(map(parsed, names or (f"${{{key}.QueueName}}", f"${{AWS::StackName}}-{key}-…"))),
        open_grants=open_grants,
    )  # fmt: skip


def read(resource: Any) -> Any:
    """Return a resource, or a list of resources, as read from a template."""
    return [parsed(item) for item in resource] if isinstance(resource, list) else resource and parsed(resource)


def allowed(resource: Any, target: Queue | None = None, **changes: Any) -> bool | None:
    statement = {"Effect": "Allow", "Action": [SEND], "Resource": read(resource), **changes}
    return is_allowed(Permissions(grants_of({"Statement": statement})), SEND, target or queue())[0]


NAMED = queue("${Jobs.QueueName}", "jobs")
PARTLY_NAMED = queue("${Jobs.QueueName}", "${Stage}-jobs")


@pytest.mark.parametrize(
    ("resource", "target", "expected"),
    [
        ("*", None, True),
        ("${Jobs.Arn}", None, True),
        (["${Table.Arn}", "${Jobs.Arn}"], None, True),
        ("${Table.Arn}", None, False),
        ("${Queues.Outputs.Arn}", None, None),
        ("arn:aws:sqs:eu-west-1:1:jobs", NAMED, True),
        ("arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${Jobs.QueueName}", None, True),
        ("arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${Dead.QueueName}", None, False),
        ("arn:aws:sqs:*:*:job?", NAMED, True),
        ("arn:aws:*:*:*:*", NAMED, True),
        ("arn:aws:sqs:*:*:other", NAMED, False),
        ("arn:aws:sqs:*:*:${Stage}", NAMED, None),
        ("arn:aws:sns:*:*:jobs", NAMED, False),
        ("arn:aws:${Service}:*:*:jobs", NAMED, None),
        ("arn:aws:sqs:*:*:${Stage}-jobs", PARTLY_NAMED, True),
        ("arn:aws:sqs:*:*:prod-jobs", PARTLY_NAMED, None),
        ("arn:aws:sqs:*:*:${AWS::StackName}-*", None, True),
        ("arn:aws:sqs:*:*:shop-*", None, None),
        ("arn:aws:sqs:*:*:jobs", None, False),
        ("${QueueArn}", queue("${QueueArn}", key="${QueueArn}"), True),
        ([], None, False),
        (None, None, False),
    ],
)
def test_a_statement_includes_a_queue_or_not_or_it_is_not_known(
    resource: Any, target: Queue | None, expected: bool | None
):
    """Not known, if a part of either name is known only at deployment."""
    assert allowed(resource, target) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Action": "sqs:*"}, True),
        ({"Action": "*"}, True),
        ({"Action": "SQS:sendmessage*"}, True),
        ({"Action": "sqs:SendMessag?"}, True),
        ({"Action": "sqs:ReceiveMessage"}, False),
        ({"Effect": "Deny"}, False),
    ],
)
def test_actions_match_in_any_case_and_with_wildcards(changes: dict[str, Any], expected: bool):
    """As in IAM."""
    assert allowed("*", **changes) is expected


def test_not_action_and_not_resource_allow_the_rest():
    """They allow all except what they name; if a named resource may be the queue, the result is not known."""
    statement = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": read(["${Dead.Arn}"])}
    assert is_allowed(Permissions(grants_of({"Statement": [statement]})), SEND, queue()) == (True, "")
    statement = {"Effect": "Allow", "NotAction": SEND, "NotResource": read(["${Dead.Arn}"])}
    assert is_allowed(Permissions(grants_of({"Statement": [statement]})), SEND, queue()) == (False, "")
    statement = {"Effect": "Allow", "Action": SEND, "NotResource": read(["${Jobs.Arn}"])}
    assert is_allowed(Permissions(grants_of({"Statement": [statement]})), SEND, queue())[0] is None


def test_a_doubt_is_returned_only_if_no_statement_allows_the_action():
    """A matching statement settles the question, whatever the doubts."""
    invalid_return = Permissions(doubts=("its role is not in this template",))
    assert is_allowed(invalid_return, SEND, queue()) == (None, "its role is not in this template")
    assert is_allowed(Permissions((Grant((SEND,), ("*",)),), invalid_return.doubts), SEND, queue()) == (True, "")
    assert is_allowed(Permissions(), SEND, queue(open_grants=(Grant((SEND,), ()),))) == (
        None,
        "its queue policy may allow it",
    )
    assert is_allowed(Permissions(), SEND, queue(open_grants=(Grant(("sqs:Receive*",), ()),))) == (False, "")
    assert is_allowed(Permissions(), SEND, queue()) == (False, "")
    unknown_queue = Permissions((Grant((SEND,), (parsed("${A}"),)),))
    assert is_allowed(unknown_queue, SEND, queue()) == (None, "a statement for ${A} may include it")


@pytest.mark.parametrize("document", [None, "text", {}, {"Statement": "text"}, {"Statement": [1, {"Effect": "Allow"}]}])
def test_a_malformed_policy_grants_nothing(document: Any):
    """It does not raise an error either."""
    assert not any(grant.actions for grant in grants_of(document))


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (Grant((SEND,), (parsed("${Jobs.Arn}"),)), True),
        (Grant(("sqs:SendMessage*",), (parsed("arn:aws:sqs:*:*:${Jobs.QueueName}"),)), True),
        (Grant((SEND,), ("*",)), False),
        (Grant(("sqs:*",), (parsed("${Jobs.Arn}"),)), False),
        (Grant((SEND,), (parsed("${Dead.Arn}"),)), False),
        (Grant((SEND,), (parsed("${Jobs.Arn}"),), except_actions=True), False),
        (Grant((SEND,), (parsed("${Jobs.Arn}"),), except_resources=True), False),
    ],
)
def test_a_statement_names_a_queue_only_without_wildcards(grant: Grant, expected: bool):
    """A wildcard does not show that the function uses the queue."""
    assert names_queue(Permissions((grant,)), "sqs:Send", queue()) is expected


def test_what_sam_adds_for_an_sqs_event_does_not_include_visibility():
    """This gap in the AWS managed policy is the reason for FF015."""
    assert "sqs:ChangeMessageVisibility" not in MANAGED["AWSLambdaSQSQueueExecutionRole"]
