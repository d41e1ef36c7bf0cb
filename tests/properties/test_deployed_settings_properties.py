"""A replay uses exactly the settings in a template, or reports which of them are unknown."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold._replay.deployed_settings import deployed_settings
from fanfold._replay.events import SavedEvent
from fanfold.check.model import read_model
from fanfold.cli.replay import _FLAGS, _options, _undetermined
from fanfold.testing import make_record

VALUES = (130, 200, 256)  # each is valid for every setting
PARAMETERS = {f"P{value}": {"Type": "Number", "Default": value} for value in VALUES} | {"Open": {"Type": "Number"}}
MAPPINGS = {"Table": {name: {f"C{value}": value for value in VALUES} for name in ("row", "other")}}
PLACES = {
    "function_timeout": ("Do", "Timeout"),
    "memory_mb": ("Do", "MemorySize"),
    "batch_size": ("Reads", "BatchSize"),
    "window_seconds": ("Reads", "MaximumBatchingWindowInSeconds"),
    "maximum_concurrency": ("Reads", "ScalingConfig", "MaximumConcurrency"),
    "visibility_timeout": ("Jobs", "VisibilityTimeout"),
    "max_receive_count": ("Jobs", "RedrivePolicy", "maxReceiveCount"),
}


def known(value: int) -> list[tuple[Any, int | None]]:
    """Return template expressions with a known value."""
    return [
        (value, value),
        (str(value), value),
        ({"Ref": f"P{value}"}, value),
        ({"Fn::Sub": f"${{P{value}}}"}, value),
        ({"Fn::FindInMap": ["Table", "row", f"C{value}"]}, value),
        ({"Fn::FindInMap": ["Table", {"Ref": "Open"}, f"C{value}"]}, value),
        ({"Fn::Select": ["1", [1, {"Ref": f"P{value}"}]]}, value),
        ({"Fn::Join": ["", list(str(value))]}, value),
    ]


UNKNOWN: list[tuple[Any, int | None]] = [
    ({"Ref": "Open"}, None),
    ({"Fn::ImportValue": "shared"}, None),
    ("{{resolve:ssm:/seconds}}", None),
    ({"Fn::GetAtt": ["Jobs", "QueueName"]}, None),
    ({"Fn::Base64": "1"}, None),
]
leaves = st.sampled_from([expression for value in VALUES for expression in known(value)] + UNKNOWN)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, tuple[Any, bool | None]]:
    """Return conditions by name, each with its truth; later ones refer to earlier ones."""
    defined: dict[str, tuple[Any, bool | None]] = {
        "Yes": ({"Fn::Equals": [{"Ref": "P200"}, "200"]}, True),
        "No": ({"Fn::Equals": [{"Ref": "P200"}, "1"]}, False),
        "Maybe": ({"Fn::Equals": [{"Ref": "Open"}, "1"]}, None),
    }
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["Fn::Or", "Fn::And", "Fn::Not"]))
        count = 1 if kind == "Fn::Not" else draw(st.integers(2, 3))
        names = [draw(st.sampled_from(sorted(defined))) for _ in range(count)]
        truths = [defined[name][1] for name in names]
        decisive = kind == "Fn::Or"
        combined = decisive if decisive in truths else None if None in truths else not decisive
        truth = (None if truths[0] is None else not truths[0]) if kind == "Fn::Not" else combined
        defined[f"Derived{number}"] = ({kind: [{"Condition": name} for name in names]}, truth)
    return defined


def chosen(name: str, truth: bool | None, if_true: tuple[Any, Any], if_false: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return ``Fn::If`` of two expressions, and its value."""
    value = if_true[1] if truth else if_false[1]
    if truth is None:
        value = if_true[1] if if_true[1] == if_false[1] else None
    return {"Fn::If": [name, if_true[0], if_false[0]]}, value


@st.composite
def templates(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, int | None]]:
    """Return a template, and the value of each of its settings; None if it is known only at deployment."""
    conditions_by_name = draw(conditions())
    choices = st.recursive(
        leaves,
        lambda inner: st.builds(
            lambda name, if_true, if_false: chosen(name, conditions_by_name[name][1], if_true, if_false),
            st.sampled_from(sorted(conditions_by_name)),
            inner,
            inner,
        ),
        max_leaves=3,
    )
    resources: dict[str, Any] = {
        "Jobs": {"Type": "AWS::SQS::Queue", "Properties": {"RedrivePolicy": {"deadLetterTargetArn": "x"}}},
        "Do": {"Type": "AWS::Lambda::Function", "Properties": {}},
        "Reads": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]},
                "FunctionName": {"Ref": "Do"},
                "ScalingConfig": {},
            },
        },
    }
    expected: dict[str, int | None] = {}
    for option, (resource, *path, last) in PLACES.items():
        properties = resources[resource]["Properties"]
        for key in path:
            properties = properties[key]
        properties[last], expected[option] = draw(choices)
    document = {
        "Parameters": PARAMETERS,
        "Mappings": MAPPINGS,
        "Conditions": {name: condition for name, (condition, _) in conditions_by_name.items()},
        "Resources": resources,
    }
    return document, expected


@given(case=templates())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_replay_uses_known_settings_and_reports_unknown_ones(
    case: tuple[dict[str, Any], dict[str, int | None]], tmp_path_factory: pytest.TempPathFactory
):
    """A replay uses every value that ``check`` can resolve, and reports every other one with its default."""
    document, expected = case
    file = tmp_path_factory.mktemp("template") / "template.json"
    file.write_text(json.dumps(document))
    deployed = deployed_settings(file, "Do")
    _, model, _ = read_model(file)
    (mapping,), function, queue = model.mappings, model.functions["Do"], model.queues["Jobs"]
    read = {
        "function_timeout": function.timeout,
        "memory_mb": function.memory,
        "batch_size": mapping.batch_size,
        "window_seconds": mapping.window,
        "maximum_concurrency": mapping.maximum_concurrency,
        "visibility_timeout": queue.visibility,
        "max_receive_count": queue.receives,
    }
    assert {name: setting.value if setting.known else None for name, setting in read.items()} == expected

    options = _options({}, deployed.values, [SavedEvent("event", [make_record({})])], {})
    assert {name: getattr(options, name) for name, value in expected.items() if value is not None} == {
        name: value for name, value in expected.items() if value is not None
    }
    lines = list(_undetermined(deployed, {}, options))
    unknown = [name for name, value in expected.items() if value is None]
    assert len(lines) == len(unknown)
    for name in unknown:
        resource, *_, last = PLACES[name]
        (line,) = [text for text in lines if f" {last} of {resource} is not known: " in text]
        assert f"; {getattr(options, name):g}" in line
        assert f"is used instead, {_FLAGS[name][0]} sets it" in line
