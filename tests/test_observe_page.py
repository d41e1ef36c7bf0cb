"""The alarms and the table on the page about observability use existing metrics."""

import json
import re
from pathlib import Path

import pytest
import yaml
from aws_lambda_powertools import Metrics
from cfnlint.api import lint
from cfnlint.config import ManualArgs

import fanfold
from fanfold.powertools import BatchMetrics
from fanfold.testing import deliver

PAGE = (Path(__file__).parents[1] / "docs" / "observe.md").read_text()
ALARMS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


@pytest.fixture
def written(capsys) -> dict:
    """Return one line of metrics."""
    metrics = Metrics(namespace="shop", service="orders")
    deliver(fanfold.consumer(observers=[BatchMetrics(metrics)])(lambda body: None), 1)
    return json.loads(capsys.readouterr().out)


def test_the_alarms_are_valid():
    """cfn-lint reports no error."""
    assert lint(ALARMS, config=ManualArgs(regions=["us-east-1"])) == []


def test_the_alarms_and_the_table_use_existing_metrics(written: dict):
    """They have the example's namespace, dimensions, and units."""
    (directive,) = written["_aws"]["CloudWatchMetrics"]
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert re.findall(r"^\| `(\w+)` \| (Count|Milliseconds|Megabytes) \|", PAGE, re.MULTILINE) == [
        (name, units[name])
        for name in [
            *(name for name in units if name.startswith("Records")),
            "BatchDuration", "DeadlineLeft", "PeakInFlight", "PeakMemory",
        ]
    ]  # fmt: skip
    assert set(re.findall(r"MetricName: (\w+)", ALARMS)) <= set(units)
    alarms = yaml.safe_load(ALARMS)["Resources"]
    assert alarms["RecordsNotStarted"]["Properties"]["Namespace"] == directive["Namespace"]
    assert alarms["RecordsNotStarted"]["Properties"]["Dimensions"] == [{"Name": "service", "Value": "orders"}]
    assert directive["Dimensions"] == [["service"]]
