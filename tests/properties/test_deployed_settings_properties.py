"""Whatever a template says of a setting, a replay uses exactly that, or says that it is not known."""

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

VALUES = (130, 200, 256)  # AWS takes each of them for every setting
PARAMETERS = {f"P{each}": {"Type": "Number", "Default": each} for each in VALUES} | {"Open": {"Type": "Number"}}
MAPPINGS = {"Table": {"row": {f"C{each}": each for each in VALUES}, "other": {f"C{each}": each for each in VALUES}}}
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
    """Return ways to write a number that can be worked out."""
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
leaves = st.sampled_from([each for value in VALUES for each in known(value)] + UNKNOWN)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, tuple[Any, bool | None]]:
    """Conditions by name, each with whether it holds; those later ones are made of those before."""
    found: dict[str, tuple[Any, bool | None]] = {
        "Yes": ({"Fn::Equals": [{"Ref": "P200"}, "200"]}, True),
        "No": ({"Fn::Equals": [{"Ref": "P200"}, "1"]}, False),
        "Maybe": ({"Fn::Equals": [{"Ref": "Open"}, "1"]}, None),
    }
    for place in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["Fn::Or", "Fn::And", "Fn::Not"]))
        count = 1 if kind == "Fn::Not" else draw(st.integers(2, 3))
        names = [draw(st.sampled_from(sorted(found))) for _ in range(count)]
        truths = [found[name][1] for name in names]
        decisive = kind == "Fn::Or"
        whole = decisive if decisive in truths else None if None in truths else not decisive
        truth = (None if truths[0] is None else not truths[0]) if kind == "Fn::Not" else whole
        found[f"Made{place}"] = ({kind: [{"Condition": name} for name in names]}, truth)
    return found


def chosen(name: str, truth: bool | None, one: tuple[Any, Any], other: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return ``Fn::If`` of two values, and what it comes to."""
    value = one[1] if truth else other[1]
    if truth is None:
        value = one[1] if one[1] == other[1] else None
    return {"Fn::If": [name, one[0], other[0]]}, value


@st.composite
def templates(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, int | None]]:
    """A template, and what each of its settings comes to; None where that is known at deployment only."""
    made = draw(conditions())
    choices = st.recursive(
        leaves,
        lambda inner: st.builds(
            lambda name, one, other: chosen(name, made[name][1], one, other),
            st.sampled_from(sorted(made)),
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
    wanted: dict[str, int | None] = {}
    for option, (resource, *path, last) in PLACES.items():
        inside = resources[resource]["Properties"]
        for key in path:
            inside = inside[key]
        inside[last], wanted[option] = draw(choices)
    document = {
        "Parameters": PARAMETERS,
        "Mappings": MAPPINGS,
        "Conditions": {name: condition for name, (condition, _) in made.items()},
        "Resources": resources,
    }
    return document, wanted


@given(case=templates())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_known_is_used_and_what_is_not_is_said(
    case: tuple[dict[str, Any], dict[str, int | None]], tmp_path_factory: pytest.TempPathFactory
):
    """A replay runs under every value that ``check`` knows, and a line names every other one with its default."""
    document, wanted = case
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
    assert {name: setting.value if setting.known else None for name, setting in read.items()} == wanted

    options = _options({}, deployed.values, [SavedEvent("event", [make_record({})])], {})
    assert {name: getattr(options, name) for name, value in wanted.items() if value is not None} == {
        name: value for name, value in wanted.items() if value is not None
    }
    lines = list(_undetermined(deployed, {}, options))
    unknown = [name for name, value in wanted.items() if value is None]
    assert len(lines) == len(unknown)
    for name in unknown:
        resource, *_, last = PLACES[name]
        (line,) = [each for each in lines if f" {last} of {resource} is not known: " in each]
        assert f"; {getattr(options, name):g}" in line
        assert f"is used instead, {_FLAGS[name][0]} sets it" in line
