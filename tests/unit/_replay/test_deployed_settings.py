"""The settings that a replay takes from a template: values that ``check`` reads, or a line for each unknown one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deployed_template import OPEN, OTHER_MACHINE, filters, redrive, template
from fanfold._replay.deployed_settings import DeployedSettings, deployed_settings
from fanfold.errors import ConfigurationError, MissingExtraError

CORPUS = Path(__file__).parents[2] / "check_corpus"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(document: dict[str, Any], name: str = "Do") -> DeployedSettings:
        file = tmp_path / "template.json"
        file.write_text(json.dumps(document, indent=1))
        return deployed_settings(file, name)

    return read


def test_values_that_depend_on_fn_or_are_evaluated():
    """A timeout of 600 s, a visibility timeout of 100 s, and one receive; not the defaults of a replay."""
    deployed = deployed_settings(CORPUS / "bad" / "settings_behind_an_or.yaml", "Work")
    assert deployed.undetermined == {}
    expected = {"function_timeout": 600, "memory_mb": 3008, "visibility_timeout": 100, "max_receive_count": 1}
    assert {name: deployed.values[name] for name in expected} == expected


def test_settings_that_a_template_omits_have_the_default_of_aws(read: Any):
    """3 seconds, 128 MB, 10 records; and no dead-letter queue for a message that always fails."""
    deployed = read(template())
    assert deployed.values == {
        "function_timeout": 3,
        "memory_mb": 128,
        "batch_size": 10,
        "window_seconds": 0,
        "report_batch_item_failures": False,
        "scales": True,
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
def test_every_intrinsic_function_is_evaluated(read: Any, seconds: Any):
    """In the queue, the function, and the mapping."""
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
    ("value", "text"),
    [
        (OPEN, '{"Ref": "Open"} (parameter Open has no default)'),
        ({"Fn::If": ["Unknown", 1, 2]}, '{"Fn::If": ["Unknown", 1, 2]} (condition Unknown cannot be evaluated'),
        ({"Fn::ImportValue": "other"}, "it is exported by another stack (other)"),
        ("{{resolve:ssm:/seconds}}", "it is a dynamic reference, resolved only at deployment"),
        ("many", '"many" (it is not a number)'),
    ],
)
def test_an_unknown_setting_is_reported_with_its_text_in_the_template(read: Any, value: Any, text: str):
    """The line names the function, the property, the place, the text, and the reason; no value replaces it."""
    deployed = read(template(function={"Timeout": value}))
    assert "function_timeout" not in deployed.values
    line = deployed.undetermined["function_timeout"]
    assert "Timeout of Do is not known: " in line
    assert text in line
    assert "template.json:" in line


def test_a_functions_own_properties_override_globals(read: Any):
    """As SAM merges them; also in a template fragment without a transform."""
    document = template(globals_={"Timeout": 7, "MemorySize": 512}, function={"Timeout": 9})
    assert {name: read(document).values[name] for name in ("function_timeout", "memory_mb")} == {
        "function_timeout": 9,
        "memory_mb": 512,
    }
    del document["Transform"]
    assert read(document).values["memory_mb"] == 512


def test_a_redrive_policy_may_be_a_json_string(read: Any):
    """Even one that is only partly known."""
    policy = {"Fn::Sub": '{"deadLetterTargetArn": "${Dead.Arn}", "maxReceiveCount": 3}'}
    dead = {"Type": "AWS::SQS::Queue"}
    assert read(template(queue={"RedrivePolicy": policy}, Dead=dead)).values["max_receive_count"] == 3
    policy = {"Fn::Sub": '{"deadLetterTargetArn": "x", "maxReceiveCount": ${Open}}'}
    deployed = read(template(queue={"RedrivePolicy": policy}))
    assert "parameter Open has no default" in deployed.undetermined["max_receive_count"]


def mapping(**properties: Any) -> dict[str, Any]:
    defaults = {"EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]}, "FunctionName": {"Ref": "Plain"}}
    return {"Type": "AWS::Lambda::EventSourceMapping", "Properties": defaults | properties}


PLAIN = {"Type": "AWS::Lambda::Function", "Properties": {"Timeout": 60, "ReservedConcurrentExecutions": 4}}


def test_a_separate_mapping_is_read_like_a_sam_event(read: Any):
    """In plain CloudFormation; reserved concurrency and maximum concurrency are two limits."""
    document = template(Plain=PLAIN, Reads=mapping(BatchSize="5", ScalingConfig={"MaximumConcurrency": 9}))
    values = read(document, "Plain").values
    names = ("function_timeout", "batch_size", "maximum_concurrency", "reserved_concurrency")
    assert [values[name] for name in names] == [60, 5, 9, 4]
    assert read(document, "Do").values["batch_size"] == 10, "two functions read one queue, each with its own mapping"


def test_a_template_of_the_cdk_is_read():
    """It is JSON, with logical ids that the CDK generates."""
    deployed = deployed_settings(CORPUS / "good" / "synthesized_by_cdk.json", _function_in("synthesized_by_cdk.json"))
    assert deployed.undetermined == {}
    assert deployed.values["report_batch_item_failures"] is True


def _function_in(name: str) -> str:
    resources = json.loads((CORPUS / "good" / name).read_text())["Resources"]
    (event_source_mapping,) = [
        resource for resource in resources.values() if resource["Type"] == "AWS::Lambda::EventSourceMapping"
    ]
    return str(event_source_mapping["Properties"]["FunctionName"]["Ref"])


def test_the_queue_of_a_breaker_is_not_the_one_to_replay(read: Any):
    """The function reads it, too, but only in an outage. It can be chosen."""
    mapping = {"EventSourceArn": {"Fn::GetAtt": ["Tick", "Arn"]}, "FunctionName": {"Ref": "Do"}, "BatchSize": 1}
    document = template(
        function={"Environment": {"Variables": {"FANFOLD_BREAKER_QUEUE_URL": {"Ref": "Tick"}}}},
        event={"BatchSize": 7},
        Tick={"Type": "AWS::SQS::Queue"},
        TickMapping={"Type": "AWS::Lambda::EventSourceMapping", "Properties": mapping},
    )
    assert read(document).values["batch_size"] == 7
    assert read(document, "TickMapping").values["batch_size"] == 1


def test_a_function_that_reads_several_queues_is_selected_by_its_event(read: Any):
    """The user has to choose the mapping to replay."""
    events = {
        name: {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": [name, "Arn"]}, "BatchSize": size}}
        for name, size in (("Jobs", 3), ("More", 4))
    }
    document = template(function={"Events": events}, More={"Type": "AWS::SQS::Queue"})
    with pytest.raises(
        ConfigurationError, match=r"reads several queues; use --function Do\.Jobs or --function Do\.More"
    ):
        read(document)
    assert read(document, "Do.More").values["batch_size"] == 4
    events["Jobs"]["Properties"]["Enabled"] = False
    assert read(document).values["batch_size"] == 4
    assert (
        read(document, "Do.Jobs").remarks[0].endswith("Enabled of Do.Jobs is false: a replay delivers messages anyway")
    )


def test_the_settings_of_a_queue_of_another_stack_are_unknown(read: Any):
    """Each of them is named, with the template's reference to the queue."""
    deployed = read(template(event={"Queue": "{{resolve:ssm:/queue/arn}}"}))
    assert deployed.undetermined.keys() == {"visibility_timeout", "fifo", "max_receive_count"}
    for option, name in (("visibility_timeout", "VisibilityTimeout"), ("fifo", "FifoQueue")):
        text = f"{name} of the queue of Do.Jobs is not known: {{{{resolve:ssm:/queue/arn}}}} (it is a dynamic reference"
        assert text in deployed.undetermined[option]
    known = read(template(event={"Queue": "arn:aws:sqs:eu-west-1:123456789012:jobs.fifo"}))
    assert known.values["fifo"] is True
    assert "jobs.fifo is not in this template" in known.undetermined["visibility_timeout"]


def test_the_settings_of_a_function_of_another_stack_are_unknown(read: Any):
    """Its mapping is selected by logical id."""
    deployed = read(template(Reads=mapping(FunctionName="elsewhere", BatchSize=7)), "Reads")
    assert deployed.values["batch_size"] == 7
    assert (
        "Timeout of elsewhere is not known (elsewhere is not in this template)"
        in (deployed.undetermined["function_timeout"])
    )
    assert "memory_mb" in deployed.undetermined


def test_a_queue_behind_a_topic_is_read(read: Any):
    """SAM generates a mapping from the subscription."""
    subscription = {"QueueArn": {"Fn::GetAtt": ["Jobs", "Arn"]}, "QueueUrl": {"Ref": "Jobs"}, "BatchSize": 8}
    event = {"Type": "SNS", "Properties": {"Topic": {"Ref": "News"}, "SqsSubscription": subscription}}
    document = template(
        queue={"VisibilityTimeout": 77}, function={"Events": {"S": event}}, News={"Type": "AWS::SNS::Topic"}
    )
    values = read(document).values
    assert (values["batch_size"], values["visibility_timeout"]) == (8, 77)


def test_an_attribute_of_a_resource_that_a_parameter_names_is_found(read: Any):
    """AWS::LanguageExtensions allows it; an unknown resource is reported."""
    document = template(event={"Queue": {"Fn::GetAtt": [{"Ref": "Which"}, "Arn"]}}, queue={"VisibilityTimeout": 77})
    document["Transform"] = ["AWS::LanguageExtensions", document["Transform"]]
    document["Parameters"]["Which"] = {"Type": "String", "Default": "Jobs"}
    assert read(document).values["visibility_timeout"] == 77
    del document["Parameters"]["Which"]["Default"]
    assert "parameter Which has no default" in read(document).undetermined["visibility_timeout"]


def test_a_starting_position_does_not_turn_a_queue_into_another_source(read: Any):
    """AWS rejects such a mapping, but its settings are read."""
    document = template(Plain=PLAIN, Reads=mapping(StartingPosition="LATEST", BatchSize=6))
    assert read(document, "Plain").values["batch_size"] == 6


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        (
            {"event": filters('{"body": {"n": [{"wildcard": "*"}]}}')},
            "FilterCriteria of Do.Jobs cannot be applied, so every message is delivered: body.n of a filter pattern",
        ),
        ({"event": filters({"Ref": "Open"})}, "FilterCriteria of Do.Jobs cannot be applied"),
        (
            {"event": {"FilterCriteria": OPEN}},
            "FilterCriteria of Do.Jobs are not known (parameter Open has no",
        ),
        (
            {"event": filters('{"messageAttributes": {"kind": [{"exists": true}]}}')},
            "FilterCriteria of Do.Jobs filter on 'messageAttributes': SQS filters match on body only",
        ),
        (
            {"function": {"ReservedConcurrentExecutions": 0}},
            "of Do is 0: Lambda does not invoke it, so every message is dead-lettered without having run",
        ),
        (
            {
                "function": {
                    "CapacityProviderConfig": {"PerExecutionEnvironmentMaxConcurrency": 8, "Arn": "arn:aws:lambda:x"}
                }
            },
            "Do runs on Lambda Managed Instances, with 8 processes: --concurrent-invocations N lets",
        ),
        ({"function": {"Architectures": [OTHER_MACHINE]}}, f"Architectures of Do is {OTHER_MACHINE}, this machine is"),
        ({"function": {"Runtime": "python3.8"}}, "Runtime of Do is python3.8, this replay runs Python 3."),
    ],
)
def test_a_feature_that_a_replay_does_not_follow_is_reported(read: Any, changes: dict[str, Any], remark: str):
    """No setting is ignored silently."""
    assert remark in "".join(read(template(**changes)).remarks)


def test_a_macro_and_a_condition_are_remarked_on(read: Any):
    """A macro may change anything; an unknown condition may exclude the function."""
    document = template(Plain=PLAIN, Reads=mapping() | {"Condition": "Unknown"})
    document["Transform"] = [document["Transform"], "Odd"]
    remarks = "".join(read(document, "Plain").remarks)
    assert "the macro Odd may change it at deployment" in remarks
    assert "whether Reads is deployed is not known (condition Unknown cannot be evaluated" in remarks


def test_without_the_extra_the_error_names_the_package_to_install(read: Any, monkeypatch: pytest.MonkeyPatch):
    """``fanfold[local]``, which a replay needs, includes it."""
    monkeypatch.setitem(sys.modules, "cfnlint.decode", None)
    with pytest.raises(MissingExtraError, match=r"reading a template needs an extra: pip install 'fanfold\[check\]'"):
        read(template())


@pytest.mark.parametrize(
    ("document", "name", "message"),
    [
        (template(), "Nope", "has no function 'Nope'; its functions: Do"),
        (template(function={"Events": {}}), "Do", "no SQS event or event source mapping invokes Do"),
        (template(function={"Timeout": 0}), "Do", "Timeout of Do must be an integer from 1 to 1,000,000, not 0"),
        (
            template(queue={"VisibilityTimeout": 2.5}),
            "Do",
            "VisibilityTimeout of Jobs must be an integer from 0 to 43,200, not 2.5",
        ),
        ({"Resources": {"Do": 5}}, "Do", "has no function 'Do'; its functions: none"),
        ({"Resources": ["a"]}, "Do", "has no Resources"),
    ],
)
def test_a_template_that_cannot_be_replayed_is_reported_in_one_line(read: Any, document: Any, name: str, message: str):
    """Without a traceback."""
    with pytest.raises(ConfigurationError) as caught:
        read(document, name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
