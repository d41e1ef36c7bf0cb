"""``template.yaml`` itself: what its numbers must satisfy, whatever parameters are chosen."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from fanfold._replay.deployed_settings import deployed_settings
from fanfold.check.deployment import deployment_of

ROOT = Path(__file__).parents[3]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
PARAMETERS = TEMPLATE["Parameters"]
RESOURCES = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, Any]:
    return {name: each for name, each in RESOURCES.items() if each["Type"] == kind}


def test_visibility_is_six_timeouts_and_the_window_for_every_choice():
    """CloudFormation cannot multiply: the table holds the product for each timeout and window there is."""
    timing = TEMPLATE["Mappings"]["Timing"]
    assert [int(timeout) for timeout in timing] == PARAMETERS["FunctionTimeout"]["AllowedValues"]
    for timeout, row in timing.items():
        windows = {str(window): 6 * int(timeout) + window for window in PARAMETERS["BatchingWindow"]["AllowedValues"]}
        assert row == {"NearTimeoutMs": int(timeout) * 900, **windows}


def test_every_maximum_concurrency_has_its_number():
    """From the 2 to the 1,000 that Lambda takes."""
    numbers = PARAMETERS["MaximumConcurrency"]["AllowedValues"]
    assert TEMPLATE["Mappings"]["Concurrency"] == {str(number): {"Number": number} for number in numbers}
    assert (min(numbers), max(numbers)) == (2, 1000)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_parameter_has_a_description_a_default_and_bounds(name: str):
    """What cannot work is refused before anything is made."""
    parameter = PARAMETERS[name]
    assert parameter["Description"].endswith(".")
    assert parameter["Type"] in {"String", "Number"}
    bounds = {"AllowedValues", "AllowedPattern", "MinValue"} & set(parameter)
    assert len(bounds) == 1
    default = parameter["Default"]
    if "AllowedValues" in parameter:
        assert default in parameter["AllowedValues"]
    elif "AllowedPattern" in parameter:
        assert re.fullmatch(parameter["AllowedPattern"], default)
    else:
        assert parameter["MinValue"] <= default <= parameter["MaxValue"]


def test_every_parameter_is_explained_in_the_guide():
    """With its default and its bounds."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert [name for name in PARAMETERS if f"`{name}`" not in page] == []


def test_dead_letters_outlive_every_retention_of_their_source():
    """A message keeps the time it was first sent."""
    assert (
        PARAMETERS["RetentionSeconds"]["MaxValue"]
        < RESOURCES["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"]
    )


def test_every_queue_and_the_bucket_are_encrypted_and_refuse_plain_http():
    """At rest and on the way."""
    policies = {each["Properties"]["Queues"][0]["Ref"]: each for each in of_type("AWS::SQS::QueuePolicy").values()}
    queues = of_type("AWS::SQS::Queue")
    assert policies.keys() == queues.keys()
    assert all(queue["Properties"]["SqsManagedSseEnabled"] is True for queue in queues.values())
    assert RESOURCES["ResultsBucket"]["Properties"]["BucketEncryption"]
    for policy in [*policies.values(), RESOURCES["ResultsBucketPolicy"]]:
        (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Resource"] != "*"


def test_no_function_may_do_more_than_its_statements_name():
    """No action and no resource is a wildcard, but for X-Ray, which knows no resources."""
    for role in of_type("AWS::IAM::Role").values():
        for policy in role["Properties"]["Policies"]:
            for given in policy["PolicyDocument"]["Statement"]:
                statement = given["Fn::If"][1] if "Fn::If" in given else given
                actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
                assert not [action for action in actions if "*" in action]
                assert statement["Resource"] != "*" or all(action.startswith("xray:Put") for action in actions)


def test_every_mapping_reports_failures_and_every_function_writes_to_its_own_log():
    """Without the first, Lambda ignores what the handler says."""
    functions = of_type("AWS::Serverless::Function")
    mapped = [event for each in functions.values() for event in each["Properties"].get("Events", {}).values()]
    assert len(mapped) == 3
    assert all(event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for event in mapped)
    logs = {each["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] for each in functions.values()}
    assert logs == of_type("AWS::Logs::LogGroup").keys()


@pytest.mark.parametrize("name", ["DeadLetterQueue", "LedgerTable", "QuarantineQueue", "ResultsBucket"])
def test_what_holds_data_outlives_the_stack(name: str):
    """But for a stack that could not be made, which leaves nothing behind."""
    resource = RESOURCES[name]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_the_dashboard_is_json_and_names_what_is_there():
    """CloudWatch takes no comments and no trailing commas, and says nothing of a metric that does not exist."""
    body, names = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    used = set(re.findall(r"\$\{([^}]+)\}", body))
    assert used - {"AWS::Region"} <= names.keys() | RESOURCES.keys()
    assert names.keys() <= used
    widgets = json.loads(re.sub(r"\$\{[^}]+\}", "name", body))["widgets"]
    assert {widget["type"] for widget in widgets} == {"metric"}
    assert all(widget["properties"]["metrics"] for widget in widgets)


def test_the_makefile_builds_for_the_templates_defaults():
    """Whoever changes neither gets packages that run."""
    makefile = (ROOT / "examples" / "flights" / "Makefile").read_text()
    assert f"\nARCHITECTURE ?= {PARAMETERS['Architecture']['Default']}\n" in makefile
    assert f"\nPYTHON_VERSION ?= {PARAMETERS['Runtime']['Default'].removeprefix('python')}\n" in makefile


def test_a_replay_takes_its_settings_from_the_template():
    """Through its mappings and conditions."""
    deployed = deployed_settings(ROOT / "template.yaml", "SegmentFunction")
    assert deployed.undetermined == {}
    assert deployed.values == {
        "function_timeout": 60,
        "memory_mb": 1769,
        "batch_size": 10,
        "window_seconds": 0,
        "report_batch_item_failures": True,
        "maximum_concurrency": 10,
        "visibility_timeout": 360,
        "fifo": False,
        "max_receive_count": 5,
    }


def test_a_replay_of_a_fifo_template_is_one_of_a_fifo_queue(tmp_path: Path):
    """The condition decides, and so there is no window."""
    text = (ROOT / "template.yaml").read_text()
    changed = tmp_path / "template.yaml"
    changed.write_text(text.replace("Default: standard", "Default: fifo"))
    settings = deployed_settings(changed, "SegmentFunction").values
    assert settings["fifo"] is True
    assert settings["window_seconds"] == 0


def test_a_sweep_takes_the_memory_of_the_template():
    """And the concurrency is the handler's own."""
    function = deployment_of(ROOT / "template.yaml", "SegmentFunction").function
    assert function is not None
    assert (function.memory.value, function.concurrency.value) == (PARAMETERS["MemorySize"]["Default"], None)
