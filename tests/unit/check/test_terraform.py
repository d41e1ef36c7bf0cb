"""The JSON form of a Terraform plan as input of ``fanfold check``."""

import json
from pathlib import Path
from typing import Any

from fanfold.check.run import check_template
from fanfold.check.terraform import is_plan, template_of_plan
from plans import DEAD, QUEUE, plan, resource


def findings(tmp_path: Path, content: dict[str, Any]) -> tuple[list[str], set[str]]:
    """Return the rules with findings, and the rules that were not checked."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(content))
    report = check_template(file)
    return sorted(finding.rule for finding in report.findings), {
        rule for note in report.not_known for rule in note.rules
    }


UNKNOWN = {"FF008", "FF023"}  # maxReceiveCount is known after apply; roles are not read


def test_a_good_plan_has_no_findings(tmp_path: Path):
    """References lead to the queue and its dead-letter queue, whose ARNs are known only after apply."""
    assert findings(tmp_path, plan()) == ([], UNKNOWN)


def test_the_settings_of_a_plan_are_judged(tmp_path: Path):
    """Those of the queue, the function, and the mapping, with their nested blocks."""
    assert findings(tmp_path, plan(queue={"visibility_timeout_seconds": 30})) == (["FF003"], UNKNOWN)
    assert findings(tmp_path, plan(function={"reserved_concurrent_executions": 1}))[0] == ["FF022"]
    scaling = {"scaling_config": [{"maximum_concurrency": 1}]}
    assert findings(tmp_path, plan(mapping=scaling))[0] == ["FF011"]
    pollers = {"provisioned_poller_config": [{"minimum_pollers": 1, "maximum_pollers": None}]}
    assert findings(tmp_path, plan(mapping=pollers))[0] == ["FF026"]
    filters = {"filter_criteria": [{"filter": [{"pattern": '{"attributes": {}}'}]}]}
    assert findings(tmp_path, plan(mapping=filters))[0] == ["FF020"]
    assert findings(tmp_path, plan(mapping={"function_response_types": []}))[0] == ["FF001"]
    variables = {"environment": [{"variables": {"FANFOLD_CONCURRENCY": "2000"}}]}
    assert findings(tmp_path, plan(function=variables))[0] == ["FF014", "FF029"]


def test_known_arns_refer_to_the_resources_of_the_plan(tmp_path: Path):
    """As in a plan for infrastructure that exists."""
    arn = "arn:aws:sqs:eu-west-1:1:"
    content = plan(
        queue={
            "arn": f"{arn}jobs",
            "redrive_policy": json.dumps({"deadLetterTargetArn": f"{arn}dead", "maxReceiveCount": 2}),
        },
        mapping={"event_source_arn": f"{arn}jobs"},
    )
    content["planned_values"]["root_module"]["resources"][0]["values"] = {**DEAD, "arn": f"{arn}dead"}
    assert findings(tmp_path, content) == (["FF008"], {"FF023"})


def test_a_redrive_policy_may_be_a_resource_of_its_own_or_malformed(tmp_path: Path):
    """Without one, there is no dead-letter queue."""
    alone = {"aws_sqs_queue.jobs": {}}
    assert findings(tmp_path, plan(references=alone))[0] == ["FF007"]
    separate = resource(
        "aws_sqs_queue_redrive_policy.jobs",
        {"redrive_policy": '{"deadLetterTargetArn": "arn:x", "maxReceiveCount": 2}'},
    )
    other = resource("aws_sqs_queue_redrive_policy.other", {"queue_url": "https://other"})
    urls = {"aws_sqs_queue_redrive_policy.jobs": {"queue_url": ["aws_sqs_queue.jobs.id", "aws_sqs_queue.jobs"]}}
    assert findings(tmp_path, plan(resources=[separate, other], references=alone | urls))[0] == ["FF008"]
    for text in ("odd", "[" * 5_000):
        assert findings(tmp_path, plan(queue={"redrive_policy": text})) == ([], {"FF007", *UNKNOWN})
    odd = resource("aws_sqs_queue_redrive_policy.odd", {"queue_url": {"Ref": {}}})
    assert findings(tmp_path, plan(resources=[odd])) == ([], UNKNOWN)


def test_modules_and_indexed_resources_are_read(tmp_path: Path):
    """A reference is relative to its module; one to several instances, or to a variable, is not known."""
    root = plan()["planned_values"]["root_module"]["resources"][:4]
    inner = [{**one, "address": f'module.inner["a.b"].{one["address"]}'} for one in root]
    content = plan(child_modules=[{"address": "module.inner", "resources": inner}])
    template = template_of_plan(content)["Resources"]
    mapping = template["module_inner_a_b_aws_lambda_event_source_mapping_jobs"]["Properties"]
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["module_inner_a_b_aws_sqs_queue_jobs", "Arn"]}
    twice = plan(
        resources=[resource("aws_sqs_queue.jobs[1]", QUEUE)], references={"aws_sqs_queue.dead": {"name": ["var.x"]}}
    )
    template = template_of_plan(twice)["Resources"]
    assert str(template["aws_lambda_event_source_mapping_jobs"]["Properties"]["EventSourceArn"]).startswith(
        "{{resolve:"
    )
    named = plan(references={"aws_lambda_event_source_mapping.jobs": {"event_source_arn": ["aws_sqs_queue.jobs.name"]}})
    mapping = template_of_plan(named)["Resources"]["aws_lambda_event_source_mapping_jobs"]
    assert mapping["Properties"]["EventSourceArn"] == {"Fn::GetAtt": ["aws_sqs_queue_jobs", "QueueName"]}


def test_only_a_plan_is_a_plan():
    """A template is not, and a plan without resources is an empty template."""
    assert not is_plan({"Resources": {}})
    assert not is_plan([])
    assert template_of_plan({"planned_values": {}}) == {"Resources": {}}
