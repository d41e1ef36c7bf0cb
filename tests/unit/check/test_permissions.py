"""What policies allow a function to do with a queue."""

from typing import Any

import pytest

from fanfold.check.permissions import MANAGED, grants_of, may, names_queue
from fanfold.check.unresolved import parsed
from fanfold.check.values import Grant, Permissions, Place, Queue, Setting

PLACE = Place(("Resources", "Jobs"))
NOTHING: Setting[Any] = Setting("", None, PLACE)
SEND = "sqs:SendMessage"


def queue(*names: str, key: str = "Jobs", open_policy: bool = False) -> Queue:
    return Queue(
        key, PLACE, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING,
        names=tuple(map(parsed, names or (f"${{{key}.QueueName}}", f"${{AWS::StackName}}-{key}-…"))),
        open_policy=open_policy,
    )  # fmt: skip


def read(resource: Any) -> Any:
    """Return a resource, or a list of them, as it is read from a template."""
    return [parsed(each) for each in resource] if isinstance(resource, list) else resource and parsed(resource)


def allowed(resource: Any, asked: Queue | None = None, **changes: Any) -> bool | None:
    statement = {"Effect": "Allow", "Action": [SEND], "Resource": read(resource), **changes}
    return may(Permissions(grants_of({"Statement": statement})), SEND, asked or queue())[0]


NAMED = queue("${Jobs.QueueName}", "jobs")
PARTLY_NAMED = queue("${Jobs.QueueName}", "${Stage}-jobs")


@pytest.mark.parametrize(
    ("resource", "asked", "answer"),
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
def test_a_statement_means_a_queue_or_not_or_perhaps(resource: Any, asked: Queue | None, answer: bool | None):
    """Perhaps, where a part of either name is known at deployment only."""
    assert allowed(resource, asked) is answer


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"Action": "sqs:*"}, True),
        ({"Action": "*"}, True),
        ({"Action": "SQS:sendmessage*"}, True),
        ({"Action": "sqs:SendMessag?"}, True),
        ({"Action": "sqs:ReceiveMessage"}, False),
        ({"Effect": "Deny"}, False),
    ],
)
def test_actions_count_whatever_their_case_and_with_wildcards(changes: dict[str, Any], answer: bool):
    """As IAM reads them."""
    assert allowed("*", **changes) is answer


def test_not_action_and_not_resource_allow_the_rest():
    """All but what they name; a resource that may be the queue leaves it open."""
    statement = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": read(["${Dead.Arn}"])}
    assert may(Permissions(grants_of({"Statement": [statement]})), SEND, queue()) == (True, "")
    statement = {"Effect": "Allow", "NotAction": SEND, "NotResource": read(["${Dead.Arn}"])}
    assert may(Permissions(grants_of({"Statement": [statement]})), SEND, queue()) == (False, "")
    statement = {"Effect": "Allow", "Action": SEND, "NotResource": read(["${Jobs.Arn}"])}
    assert may(Permissions(grants_of({"Statement": [statement]})), SEND, queue())[0] is None


def test_a_doubt_is_said_only_where_nothing_allows_it():
    """What is allowed is allowed, whatever else there may be."""
    invalid_return = Permissions(doubts=("its role is not in this template",))
    assert may(invalid_return, SEND, queue()) == (None, "its role is not in this template")
    assert may(Permissions((Grant((SEND,), ("*",)),), invalid_return.doubts), SEND, queue()) == (True, "")
    assert may(Permissions(), SEND, queue(open_policy=True)) == (None, "its queue policy may allow it")
    assert may(Permissions(), SEND, queue()) == (False, "")
    perhaps = Permissions((Grant((SEND,), (parsed("${A}"),)),))
    assert may(perhaps, SEND, queue()) == (None, "a statement for ${A} may mean it")


@pytest.mark.parametrize("document", [None, "text", {}, {"Statement": "text"}, {"Statement": [1, {"Effect": "Allow"}]}])
def test_what_is_no_policy_grants_nothing(document: Any):
    """Odd documents are no reason to fail."""
    assert not any(grant.actions for grant in grants_of(document))


@pytest.mark.parametrize(
    ("grant", "answer"),
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
def test_a_statement_names_a_queue_in_so_many_words(grant: Grant, answer: bool):
    """A wildcard says nothing of what a function does."""
    assert names_queue(Permissions((grant,)), "sqs:Send", queue()) is answer


def test_what_sam_adds_for_an_sqs_event_does_not_include_visibility():
    """AWS's policy for SQS functions is the reason for FF015."""
    assert "sqs:ChangeMessageVisibility" not in MANAGED["AWSLambdaSQSQueueExecutionRole"]
