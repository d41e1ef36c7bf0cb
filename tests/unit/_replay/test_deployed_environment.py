"""The filters, the environment, and the pollers that a replay takes from a template."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployed_template import OPEN, filters, template
from fanfold._replay.deployed_settings import DeployedSettings, deployed_settings
from fanfold._replay.options import QueueRole, QueueValue
from fanfold._replay.scaling import Pollers
from fanfold.errors import ConfigurationError


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(document: dict[str, Any], name: str = "Do") -> DeployedSettings:
        file = tmp_path / "template.json"
        file.write_text(json.dumps(document, indent=1))
        return deployed_settings(file, name)

    return read


def test_the_filters_of_a_mapping_are_read(read: Any):
    """Also those of a queue behind a topic."""
    deployed = read(template(event=filters('{"body": {"city": ["Bern"]}}')))
    assert deployed.patterns == [{"body": {"city": ["Bern"]}}]
    assert deployed.remarks == ()


def test_environment_variables_have_their_deployed_values(read: Any):
    """With those of Globals and parameters; the queue and its dead-letter queue are those of the replay."""
    document = template(
        queue={"RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 3}},
        globals_={"Environment": {"Variables": {"STAGE": "test", "SECONDS": {"Ref": "Seconds"}}}},
        function={
            "Environment": {
                "Variables": {
                    "STAGE": "prod",
                    "LIMIT": 7,
                    "QUEUE": {"Ref": "Jobs"},
                    "DEAD_ARN": {"Fn::GetAtt": ["Dead", "Arn"]},
                    "QUEUE_NAME": {"Fn::GetAtt": ["Jobs", "QueueName"]},
                    "TABLE": {"Ref": "Table"},
                    "URL": {"Fn::Sub": "https://${Open}.example"},
                    "GONE": {"Ref": "AWS::NoValue"},
                }
            }
        },
        Dead={"Type": "AWS::SQS::Queue"},
        Table={"Type": "AWS::DynamoDB::Table"},
    )
    deployed = read(document)
    assert deployed.variables == {
        "STAGE": "prod",
        "SECONDS": "45",
        "LIMIT": "7",
        "QUEUE": QueueValue(QueueRole.SOURCE, "url"),
        "DEAD_ARN": QueueValue(QueueRole.DEAD_LETTERS, "arn"),
        "QUEUE_NAME": QueueValue(QueueRole.SOURCE, "name"),
    }
    assert deployed.unknown_variables.keys() == {"TABLE", "URL"}
    assert "TABLE of Do is not known" in deployed.unknown_variables["TABLE"]
    assert "parameter Open has no default" in deployed.unknown_variables["URL"]


def test_the_region_is_that_of_the_replay(read: Any, monkeypatch: pytest.MonkeyPatch):
    """A function knows its Region."""
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    variables = {"WHERE": {"Ref": "AWS::Region"}}
    assert read(template(function={"Environment": {"Variables": variables}})).variables == {"WHERE": "sa-east-1"}


def test_an_environment_that_is_not_known_as_a_whole_is_reported(read: Any):
    """In one line."""
    deployed = read(template(function={"Environment": {"Fn::If": ["Unknown", {"Variables": {"A": "1"}}, {}]}}))
    assert deployed.variables == {}
    assert "condition Unknown cannot be evaluated" in deployed.unknown_variables["Variables"]


def test_parameters_have_the_values_that_the_user_chooses(tmp_path: Path):
    """As in ``fanfold check --parameter``."""
    file = tmp_path / "template.json"
    file.write_text(json.dumps(template(function={"Timeout": {"Ref": "Seconds"}})))
    assert deployed_settings(file, "Do", {"Seconds": "12"}).values["function_timeout"] == 12


def test_a_concurrency_that_aws_rejects_is_refused(read: Any):
    """MaximumConcurrency is from 2 to 1,000."""
    for value in (1, 1_001):
        with pytest.raises(
            ConfigurationError, match=r"MaximumConcurrency of Do\.Jobs must be an integer from 2 to 1,000"
        ):
            read(template(event={"ScalingConfig": {"MaximumConcurrency": value}}))


def provisioned(**pollers: Any) -> dict[str, Any]:
    return {"ProvisionedPollerConfig": pollers}


def test_provisioned_pollers_are_read(read: Any):
    """With the defaults of AWS; if they are not known, a replay runs in standard mode and states so."""
    assert read(template(event=provisioned(MinimumPollers=3))).values["pollers"] == Pollers(3, 200)
    unknown = read(template(event=provisioned(MinimumPollers=OPEN)))
    assert "pollers" not in unknown.values
    assert "ProvisionedPollerConfig of Do.Jobs is not known (parameter Open has no default)" in unknown.remarks[0]
    with pytest.raises(
        ConfigurationError, match=r"of Do\.Jobs: MinimumPollers must be an integer from 2 to 200, not 1"
    ):
        read(template(event=provisioned(MinimumPollers=1)))
