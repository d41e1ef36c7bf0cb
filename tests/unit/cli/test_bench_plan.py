"""The present setting that ``fanfold bench --template`` reads from a template."""

import json
from pathlib import Path
from typing import Any

import pytest

from fanfold.bench.cells import Setting
from fanfold.cli.bench_plan import _deployed
from fanfold.errors import ConfigurationError


@pytest.fixture
def deployed(tmp_path: Path) -> Any:
    def deployed(name: str = "Do", **properties: Any) -> Any:
        """Return the present setting of a CloudFormation function that no mapping invokes."""
        mapping = {"FunctionName": "elsewhere", "EventSourceArn": "arn:aws:sqs:eu-west-1:123456789012:jobs"}
        document = {
            "Parameters": {"Open": {"Type": "Number"}, "Size": {"Type": "Number", "Default": 512}},
            "Mappings": {"Sizes": {"a": {"Handlers": 7}}},
            "Resources": {
                "Do": {"Type": "AWS::Lambda::Function", "Properties": properties},
                "Reads": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": mapping},
            },
        }
        file = tmp_path / "template.json"
        file.write_text(json.dumps(document))
        return _deployed(file, name)

    return deployed


def concurrency(value: Any) -> dict[str, Any]:
    return {"Variables": {"FANFOLD_CONCURRENCY": value}}


def test_parameters_and_mappings_are_resolved(deployed: Any):
    """As in a replay. Without the variable, the handler's decorator sets the concurrency."""
    handlers = {"Fn::FindInMap": ["Sizes", "a", "Handlers"]}
    assert deployed(MemorySize={"Ref": "Size"}, Environment=concurrency(handlers)) == (Setting(7, 512), None, ())
    assert deployed() == (None, 128, ())


def test_an_unknown_setting_is_noted_and_not_guessed(deployed: Any):
    """Each note quotes the template and names the option that helps."""
    present, memory_mb, notes = deployed(MemorySize={"Ref": "Open"}, Environment=concurrency({"Ref": "Open"}))
    assert (present, memory_mb, len(notes)) == (None, None, 2)
    assert 'MemorySize of Do is not known: {"Ref": "Open"} (parameter Open has no default)' in notes[0]
    assert "FANFOLD_CONCURRENCY of Do is not known" in notes[1]
    assert all("specify the present setting with --present" in note for note in notes)
    assert "does not declare the function of Reads" in "".join(deployed("Reads")[2])


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"MemorySize": 64}, "MemorySize of Do must be integers from 128"),
        ({"Environment": concurrency("0.5")}, "FANFOLD_CONCURRENCY of Do must be integers from 1"),
    ],
)
def test_an_invalid_setting_is_refused(deployed: Any, properties: dict[str, Any], message: str):
    """In one line that names it."""
    with pytest.raises(ConfigurationError, match=message):
        deployed(**properties)
