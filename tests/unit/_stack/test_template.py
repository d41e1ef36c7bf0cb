"""``template.yaml``: conditions that its numbers satisfy for every choice of parameters."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from samtranslator.yaml_helper import yaml_parse

from fanfold._base import aws_limits
from fanfold._replay.deployed_settings import deployed_settings
from fanfold.aws.run_index import INDEX, PROJECTED
from fanfold.check.deployment import deployment_of

ROOT = Path(__file__).parents[3]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
PARAMETERS = TEMPLATE["Parameters"]
RESOURCES = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def test_visibility_is_six_timeouts_and_the_window_for_every_choice():
    """CloudFormation cannot multiply, so the mapping contains the value for each timeout and window."""
    timing = TEMPLATE["Mappings"]["Timing"]
    assert [int(timeout) for timeout in timing] == PARAMETERS["FunctionTimeout"]["AllowedValues"]
    for timeout, row in timing.items():
        windows = {str(window): 6 * int(timeout) + window for window in PARAMETERS["BatchingWindow"]["AllowedValues"]}
        assert row == {"NearTimeoutMs": int(timeout) * 900, **windows}


def test_the_runtimes_are_those_of_lambda_that_fanfold_supports():
    """A new Python version of Lambda is offered."""
    assert PARAMETERS["Runtime"]["AllowedValues"] == list(aws_limits.LAMBDA_PYTHON_RUNTIMES)


def test_the_longest_timeout_is_the_longest_that_cfn_lint_accepts():
    """Lambda accepts 1,800 s. If this test fails, cfn-lint does too: add 1200 and 1800 to the template."""
    longest = max(PARAMETERS["FunctionTimeout"]["AllowedValues"])
    properties = {"Handler": "a.b", "Runtime": "python3.13", "Code": {"ZipFile": "x"}, "Role": "arn:aws:iam::1:role/x"}
    for timeout, accepted in ((longest, True), (longest + 1, False)):
        function = {"Type": "AWS::Lambda::Function", "Properties": {**properties, "Timeout": timeout}}
        matches = lint(json.dumps({"Resources": {"F": function}}))
        assert ("E3717" not in {match.rule.id for match in matches}) is accepted
    assert longest < aws_limits.LAMBDA_MAX_TIMEOUT_SECONDS


def test_every_maximum_concurrency_has_its_number():
    """From 2 to 1,000, the range that Lambda accepts."""
    numbers = PARAMETERS["MaximumConcurrency"]["AllowedValues"]
    assert TEMPLATE["Mappings"]["Concurrency"] == {str(number): {"Number": number} for number in numbers}
    assert (min(numbers), max(numbers)) == (2, 1000)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_parameter_has_a_description_a_default_and_bounds(name: str):
    """Invalid values are refused before any resource is created."""
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
    """The deployment guide lists every parameter."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert [name for name in PARAMETERS if f"`{name}`" not in page] == []


def test_the_dead_letter_queue_retains_messages_longer_than_its_source_queue():
    """A message keeps the timestamp of when it was first sent."""
    assert (
        PARAMETERS["RetentionSeconds"]["MaxValue"]
        < RESOURCES["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"]
    )


def test_the_ledger_table_has_the_index_that_lists_the_runs():
    """With the attributes that the list shows."""
    (index,) = RESOURCES["LedgerTable"]["Properties"]["GlobalSecondaryIndexes"]
    assert index["IndexName"] == INDEX
    assert [key["AttributeName"] for key in index["KeySchema"]] == ["state", "created_at"]
    assert index["Projection"]["NonKeyAttributes"] == list(PROJECTED)


def test_every_queue_and_the_bucket_are_encrypted_and_require_https():
    """Data is encrypted at rest and in transit."""
    queue_policies = of_type("AWS::SQS::QueuePolicy").values()
    policies = {policy["Properties"]["Queues"][0]["Ref"]: policy for policy in queue_policies}
    queues = of_type("AWS::SQS::Queue")
    assert policies.keys() == queues.keys()
    assert all(queue["Properties"]["SqsManagedSseEnabled"] is True for queue in queues.values())
    assert RESOURCES["ResultsBucket"]["Properties"]["BucketEncryption"]
    for policy in [*policies.values(), RESOURCES["ResultsBucketPolicy"]]:
        (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Resource"] != "*"


def test_policies_contain_no_wildcards():
    """Neither in actions nor in resources, except for X-Ray, which has no resource-level permissions."""
    for role in of_type("AWS::IAM::Role").values():
        for policy in role["Properties"]["Policies"]:
            for entry in policy["PolicyDocument"]["Statement"]:
                statement = entry["Fn::If"][1] if "Fn::If" in entry else entry
                actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
                assert not [action for action in actions if "*" in action]
                assert statement["Resource"] != "*" or all(action.startswith("xray:Put") for action in actions)


def test_every_mapping_reports_failures_and_every_function_has_its_own_log_group():
    """Without ReportBatchItemFailures, Lambda ignores the handler's batch response."""
    functions = [function["Properties"] for function in of_type("AWS::Serverless::Function").values()]
    mappings = [event for function in functions for event in function.get("Events", {}).values()]
    assert len(mappings) == 3
    assert all(event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for event in mappings)
    logs = {function["LoggingConfig"]["LogGroup"]["Ref"] for function in functions}
    assert logs == of_type("AWS::Logs::LogGroup").keys()


@pytest.mark.parametrize("name", ["DeadLetterQueue", "LedgerTable", "QuarantineQueue", "ResultsBucket"])
def test_resources_with_data_are_retained_when_the_stack_is_deleted(name: str):
    """Except if creating the stack fails: then no resource is left."""
    resource = RESOURCES[name]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_the_dashboard_is_json_and_refers_to_existing_resources():
    """CloudWatch accepts no comments or trailing commas, and reports no error for a metric that does not exist."""
    body, names = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    used = set(re.findall(r"\$\{([^}]+)\}", body))
    assert used - {"AWS::Region"} <= names.keys() | RESOURCES.keys()
    assert names.keys() <= used
    widgets = json.loads(re.sub(r"\$\{[^}]+\}", "name", body))["widgets"]
    assert {widget["type"] for widget in widgets} == {"metric"}
    assert all(widget["properties"]["metrics"] for widget in widgets)


def test_the_makefile_builds_for_the_templates_defaults():
    """With the defaults of both, the built packages run."""
    makefile = (ROOT / "examples" / "flights" / "Makefile").read_text()
    assert f"\nARCHITECTURE ?= {PARAMETERS['Architecture']['Default']}\n" in makefile
    assert f"\nPYTHON_VERSION ?= {PARAMETERS['Runtime']['Default'].removeprefix('python')}\n" in makefile


def test_a_replay_takes_its_settings_from_the_template():
    """It resolves the template's mappings and conditions."""
    deployed = deployed_settings(ROOT / "template.yaml", "SegmentFunction")
    assert deployed.undetermined == {}
    assert deployed.values == {
        "function_timeout": 60,
        "memory_mb": 1769,
        "batch_size": 10,
        "window_seconds": 0,
        "report_batch_item_failures": True,
        "maximum_concurrency": 10,
        "scales": True,
        "visibility_timeout": 360,
        "fifo": False,
        "max_receive_count": 5,
    }


def test_a_replay_of_a_fifo_template_simulates_a_fifo_queue(tmp_path: Path):
    """The condition selects a FIFO queue, which has no batching window."""
    text = (ROOT / "template.yaml").read_text()
    changed = tmp_path / "template.yaml"
    changed.write_text(text.replace("Default: standard", "Default: fifo"))
    settings = deployed_settings(changed, "SegmentFunction").values
    assert settings["fifo"] is True
    assert settings["window_seconds"] == 0


def test_a_sweep_takes_the_memory_of_the_template():
    """The template does not set the concurrency, so the handler's setting applies."""
    function = deployment_of(ROOT / "template.yaml", "SegmentFunction").function
    assert function is not None
    assert (function.memory.value, function.concurrency.value) == (PARAMETERS["MemorySize"]["Default"], None)


WRITTEN = {
    "SegmentRole": ["0/results/a.json", "3/hops/7-0-a.json", "0/bad-rows/7-0-a.jsonl"],
    "TaskRole": ["0/results/a.json", "3/hops/7-0-a.json", "0/bad-rows/7-0-a.jsonl"],
    "DeadLetterRole": ["0/failed/7.json"],
}
OF_THE_FOLD = [
    "0/output.json",
    "0/members.xlsx",
    "0/output.jsonl",
    "0/failures.json",
    "0/fold-failure.json",
    "0/markers.json",
    "0/bad-rows.jsonl",
    "1/redo-a.json",
    "0/combine/tree.json",
    "0/combine/inputs/1000/00000000.jsonl",
    "0/combine/0/00000000.json",
    "source/a/0.json",
    "0/source/items.json",
]


@pytest.mark.parametrize("role", WRITTEN)
def test_a_function_may_write_only_the_objects_that_it_writes(role: str):
    """A segment function cannot replace the output of a run, nor what determines it. A ``*`` of IAM matches slashes."""
    (policy,) = RESOURCES[role]["Properties"]["Policies"]
    patterns = [
        resource["Fn::Sub"].removeprefix("${ResultsBucket.Arn}/")
        for statement in policy["PolicyDocument"]["Statement"]
        if "Fn::If" not in statement and "s3:PutObject" in statement["Action"]
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
    ]
    for run in ("run-1", "results", "failed", "hops", "a.b_c"):
        for key in WRITTEN[role]:
            assert any(fnmatchcase(f"runs/{run}/{key}", pattern) for pattern in patterns), key
        for key in OF_THE_FOLD:
            assert not any(fnmatchcase(f"runs/{run}/{key}", pattern) for pattern in patterns), key
