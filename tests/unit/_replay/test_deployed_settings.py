"""What a replay takes from a template: what ``check`` reads there, or a line that says what is not known."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fanfold._replay.deployed_settings import DeployedSettings, deployed_settings
from fanfold.errors import ConfigurationError, MissingExtraError

CORPUS = Path(__file__).parents[2] / "check_corpus"
FUNCTION = {"Handler": "app.handler", "Runtime": "python3.13", "CodeUri": "src"}
OPEN = {"Ref": "Open"}


def template(
    *, queue: Any = None, function: Any = None, event: Any = None, globals_: Any = None, **resources: Any
) -> dict[str, Any]:
    """Return a template of a queue and a SAM function that it calls."""
    properties = {"Queue": {"Fn::GetAtt": ["Jobs", "Arn"]}} | (event or {})
    events = {"Jobs": {"Type": "SQS", "Properties": properties}}
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Globals": {"Function": globals_ or {}},
        "Parameters": {"Open": {"Type": "String"}, "Seconds": {"Type": "Number", "Default": 45}},
        "Mappings": {"Sizes": {"prod": {"Seconds": 45}}},
        "Conditions": {"Unknown": {"Fn::Equals": [OPEN, "x"]}, "Known": {"Fn::Not": [{"Fn::Equals": ["a", "b"]}]}},
        "Resources": {
            "Jobs": {"Type": "AWS::SQS::Queue", "Properties": queue or {}},
            "Do": {"Type": "AWS::Serverless::Function", "Properties": FUNCTION | {"Events": events} | (function or {})},
            **resources,
        },
    }


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(document: dict[str, Any], name: str = "Do") -> DeployedSettings:
        file = tmp_path / "template.json"
        file.write_text(json.dumps(document, indent=1))
        return deployed_settings(file, name)

    return read


def redrive(receives: Any) -> dict[str, Any]:
    return {"RedrivePolicy": {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": receives}}


def test_what_stands_behind_an_or_counts():
    """A timeout of 600 s, a visibility of 100 s and one receive, not the defaults of a replay."""
    deployed = deployed_settings(CORPUS / "bad" / "settings_behind_an_or.yaml", "Work")
    assert deployed.undetermined == {}
    wanted = {"function_timeout": 600, "memory_mb": 3008, "visibility_timeout": 100, "max_receive_count": 1}
    assert {name: deployed.values[name] for name in wanted} == wanted


def test_what_a_template_does_not_set_has_the_default_of_aws(read: Any):
    """Three seconds, 128 MB, ten records; and nobody takes a message out of the queue that always fails."""
    deployed = read(template())
    assert deployed.values == {
        "function_timeout": 3,
        "memory_mb": 128,
        "batch_size": 10,
        "window_seconds": 0,
        "report_batch_item_failures": False,
        "visibility_timeout": 30,
        "fifo": False,
    }
    assert deployed.undetermined.keys() == {"max_receive_count"}
    assert "maxReceiveCount of Jobs is not set" in deployed.undetermined["max_receive_count"]


@pytest.mark.parametrize(
    "seconds",
    [
        45,
        {"Ref": "Seconds"},
        {"Fn::Sub": "${Seconds}"},
        {"Fn::Join": ["", ["4", "5"]]},
        {"Fn::Select": [1, [1, 45]]},
        {"Fn::Select": [0, {"Fn::Split": [",", "45,1"]}]},
        {"Fn::FindInMap": ["Sizes", "prod", "Seconds"]},
        {"Fn::FindInMap": ["Sizes", OPEN, "Seconds"]},
        {"Fn::If": ["Known", 45, 1]},
        {"Fn::If": ["Unknown", 45, {"Ref": "Seconds"}]},
    ],
)
def test_every_function_of_cloudformation_is_worked_out(read: Any, seconds: Any):
    """In the queue, the function and the mapping."""
    document = template(
        queue={"VisibilityTimeout": seconds, **redrive(seconds)},
        function={"Timeout": seconds},
        event={"MaximumBatchingWindowInSeconds": seconds, "ScalingConfig": {"MaximumConcurrency": seconds}},
    )
    deployed = read(document)
    names = ("visibility_timeout", "function_timeout", "window_seconds", "max_receive_count", "maximum_concurrency")
    assert {name: deployed.values.get(name) for name in names} == dict.fromkeys(names, 45)
    assert deployed.undetermined == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (OPEN, '{"Ref": "Open"} (parameter Open has no default)'),
        ({"Fn::If": ["Unknown", 1, 2]}, '{"Fn::If": ["Unknown", 1, 2]} (condition Unknown is open'),
        ({"Fn::ImportValue": "other"}, "it is exported by another stack (other)"),
        ("{{resolve:ssm:/seconds}}", "it is read from a store at deployment"),
        ("many", '"many" (it is no number)'),
    ],
)
def test_what_is_not_known_is_said_with_what_stands_there(read: Any, value: Any, words: str):
    """The function, the property, the line, what stands there, and why; nothing takes its place."""
    deployed = read(template(function={"Timeout": value}))
    assert "function_timeout" not in deployed.values
    line = deployed.undetermined["function_timeout"]
    assert "Timeout of Do is not known: " in line
    assert words in line
    assert "template.json:" in line


def test_globals_count_and_what_a_function_says_itself_counts_more(read: Any):
    """As SAM merges them; also in a part of a template that names no transform."""
    document = template(globals_={"Timeout": 7, "MemorySize": 512}, function={"Timeout": 9})
    assert {name: read(document).values[name] for name in ("function_timeout", "memory_mb")} == {
        "function_timeout": 9,
        "memory_mb": 512,
    }
    del document["Transform"]
    assert read(document).values["memory_mb"] == 512


def test_a_policy_as_text_is_read(read: Any):
    """RedrivePolicy may be JSON, also one in which only a part is known."""
    policy = {"Fn::Sub": '{"deadLetterTargetArn": "${Dead.Arn}", "maxReceiveCount": 3}'}
    dead = {"Type": "AWS::SQS::Queue"}
    assert read(template(queue={"RedrivePolicy": policy}, Dead=dead)).values["max_receive_count"] == 3
    policy = {"Fn::Sub": '{"deadLetterTargetArn": "x", "maxReceiveCount": ${Open}}'}
    deployed = read(template(queue={"RedrivePolicy": policy}))
    assert "parameter Open has no default" in deployed.undetermined["max_receive_count"]


def mapping(**properties: Any) -> dict[str, Any]:
    given = {"EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]}, "FunctionName": {"Ref": "Plain"}} | properties
    return {"Type": "AWS::Lambda::EventSourceMapping", "Properties": given}


PLAIN = {"Type": "AWS::Lambda::Function", "Properties": {"Timeout": 60, "ReservedConcurrentExecutions": 4}}


def test_a_mapping_of_its_own_is_read_as_an_event_of_sam(read: Any):
    """Plain CloudFormation; the reserved concurrency bounds what the mapping allows."""
    document = template(Plain=PLAIN, Reads=mapping(BatchSize="5", ScalingConfig={"MaximumConcurrency": 9}))
    values = read(document, "Plain").values
    assert (values["function_timeout"], values["batch_size"], values["maximum_concurrency"]) == (60, 5, 4)
    assert read(document, "Do").values["batch_size"] == 10, "two functions read one queue: each has its mapping"


def test_a_template_of_the_cdk_is_read():
    """It is JSON, with ids made by the CDK."""
    deployed = deployed_settings(CORPUS / "good" / "synthesized_by_cdk.json", _function_in("synthesized_by_cdk.json"))
    assert deployed.undetermined == {}
    assert deployed.values["report_batch_item_failures"] is True


def _function_in(name: str) -> str:
    resources = json.loads((CORPUS / "good" / name).read_text())["Resources"]
    (mapped,) = [each for each in resources.values() if each["Type"] == "AWS::Lambda::EventSourceMapping"]
    return str(mapped["Properties"]["FunctionName"]["Ref"])


def test_a_function_that_reads_several_queues_is_asked_for_by_its_event(read: Any):
    """Which of its mappings is replayed has to be said."""
    events = {
        name: {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": [name, "Arn"]}, "BatchSize": size}}
        for name, size in (("Jobs", 3), ("More", 4))
    }
    document = template(function={"Events": events}, More={"Type": "AWS::SQS::Queue"})
    with pytest.raises(
        ConfigurationError, match=r"reads several queues: say --function Do\.Jobs or --function Do\.More"
    ):
        read(document)
    assert read(document, "Do.More").values["batch_size"] == 4
    events["Jobs"]["Properties"]["Enabled"] = False
    assert read(document).values["batch_size"] == 4
    assert read(document, "Do.Jobs").remarks[0].endswith("Enabled of Do.Jobs is false: a replay delivers all the same")


def test_a_queue_of_another_stack_leaves_its_settings_open(read: Any):
    """Each of them is named, with what the template says of the queue."""
    deployed = read(template(event={"Queue": "{{resolve:ssm:/queue/arn}}"}))
    assert deployed.undetermined.keys() == {"visibility_timeout", "fifo", "max_receive_count"}
    for option, name in (("visibility_timeout", "VisibilityTimeout"), ("fifo", "FifoQueue")):
        words = f"{name} of the queue of Do.Jobs is not known: {{{{resolve:ssm:/queue/arn}}}} (it is read from a store"
        assert words in deployed.undetermined[option]
    known = read(template(event={"Queue": "arn:aws:sqs:eu-west-1:123456789012:jobs.fifo"}))
    assert known.values["fifo"] is True
    assert "jobs.fifo is not in this template" in known.undetermined["visibility_timeout"]


def test_a_function_of_another_stack_leaves_its_settings_open(read: Any):
    """Its mapping is asked for by its own id."""
    deployed = read(template(Reads=mapping(FunctionName="elsewhere", BatchSize=7)), "Reads")
    assert deployed.values["batch_size"] == 7
    assert (
        "Timeout of elsewhere is not known (elsewhere is not in this template)"
        in (deployed.undetermined["function_timeout"])
    )
    assert "memory_mb" in deployed.undetermined


def test_a_queue_behind_a_topic_is_read(read: Any):
    """SAM makes a mapping of the subscription."""
    subscription = {"QueueArn": {"Fn::GetAtt": ["Jobs", "Arn"]}, "QueueUrl": {"Ref": "Jobs"}, "BatchSize": 8}
    event = {"Type": "SNS", "Properties": {"Topic": {"Ref": "News"}, "SqsSubscription": subscription}}
    document = template(
        queue={"VisibilityTimeout": 77}, function={"Events": {"S": event}}, News={"Type": "AWS::SNS::Topic"}
    )
    values = read(document).values
    assert (values["batch_size"], values["visibility_timeout"]) == (8, 77)


def test_an_attribute_of_a_resource_that_a_parameter_names_is_found(read: Any):
    """AWS::LanguageExtensions allow it; a resource that is not known is said."""
    document = template(event={"Queue": {"Fn::GetAtt": [{"Ref": "Which"}, "Arn"]}}, queue={"VisibilityTimeout": 77})
    document["Transform"] = ["AWS::LanguageExtensions", document["Transform"]]
    document["Parameters"]["Which"] = {"Type": "String", "Default": "Jobs"}
    assert read(document).values["visibility_timeout"] == 77
    del document["Parameters"]["Which"]["Default"]
    assert "parameter Which has no default" in read(document).undetermined["visibility_timeout"]


def test_a_starting_position_makes_no_other_source_of_a_queue(read: Any):
    """AWS takes no such mapping, but what it says is read."""
    document = template(Plain=PLAIN, Reads=mapping(StartingPosition="LATEST", BatchSize=6))
    assert read(document, "Plain").values["batch_size"] == 6


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"event": {"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}}, "FilterCriteria of Do.Jobs are not applied"),
        ({"function": {"ReservedConcurrentExecutions": 0}}, "of Do is 0: Lambda does not call it, a replay does"),
    ],
)
def test_what_a_replay_does_not_follow_is_said(read: Any, changes: dict[str, Any], remark: str):
    """Nothing is left out in silence."""
    assert remark in "".join(read(template(**changes)).remarks)


def test_a_macro_and_a_condition_are_remarked_on(read: Any):
    """A macro may change anything; an open condition may leave the function out."""
    document = template(Plain=PLAIN, Reads=mapping() | {"Condition": "Unknown"})
    document["Transform"] = [document["Transform"], "Odd"]
    told = "".join(read(document, "Plain").remarks)
    assert "the macro Odd may change it at deployment" in told
    assert "whether Reads exists is not known (condition Unknown is open" in told


def test_without_the_extra_it_says_what_to_install(read: Any, monkeypatch: pytest.MonkeyPatch):
    """``fanfold[local]``, which a replay needs, brings it."""
    monkeypatch.setitem(sys.modules, "cfnlint.decode", None)
    with pytest.raises(MissingExtraError, match=r"reading a template needs an extra: pip install 'fanfold\[check\]'"):
        read(template())


@pytest.mark.parametrize(
    ("document", "name", "words"),
    [
        (template(), "Nope", "has no function 'Nope'; it has Do"),
        (template(function={"Events": {}}), "Do", "no event or mapping of an SQS queue calls Do"),
        (template(function={"Timeout": 0}), "Do", "Timeout of Do is 0: AWS takes whole numbers from 1 to"),
        (
            template(queue={"VisibilityTimeout": 2.5}),
            "Do",
            "VisibilityTimeout of Jobs is 2.5: AWS takes whole numbers from 0 to 43,200",
        ),
        ({"Resources": {"Do": 5}}, "Do", "has no function 'Do'; it has none"),
        ({"Resources": ["a"]}, "Do", "has no Resources"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(read: Any, document: Any, name: str, words: str):
    """Not a traceback."""
    with pytest.raises(ConfigurationError) as caught:
        read(document, name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
