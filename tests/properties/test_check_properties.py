"""``fanfold check`` never crashes on an unusual template: it reports findings, or prints a one-line error."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold.check.run import Report, check_template
from fanfold.errors import ConfigurationError
from plans import plan, resource

CORPUS = Path(__file__).parents[1] / "check_corpus"
SIDECARS = (".fix.json", ".findings.json")
TEMPLATES = [
    json.loads(json.dumps(decode(str(file))[0]))
    for file in sorted(CORPUS.glob("*/*"))
    if not file.name.endswith(SIDECARS)
]
PLAN = plan(
    queue={"redrive_policy": '{"deadLetterTargetArn": "arn:x", "maxReceiveCount": 5}', "arn": "arn:y"},
    function={"environment": [{"variables": {"FANFOLD_CONCURRENCY": "5"}}]},
    mapping={"scaling_config": [{"maximum_concurrency": 2}], "filter_criteria": [{"filter": [{"pattern": "{}"}]}]},
    resources=[resource("aws_sqs_queue_redrive_policy.jobs", {"queue_url": "arn:y"})],
)

odd_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "AWS::NoValue",
            "${",
            "${}",
            "${A}",
            "${!A}",
            "*",
            "arn:aws:sqs:::x.fifo",
            "{}",
            "[",
            "[" * 5_000,
            "{{resolve:ssm:x}}",
        ]
    ),
)
FUNCTIONS = (
    "Ref GetAtt Sub If Join Select Split FindInMap ImportValue Transform ForEach::X Length ToJsonString Equals Not"
)
KEYS = "Condition Type Properties Events Policies Connectors RedrivePolicy Resources Transform Fn::Odd Ref"
names = st.sampled_from([f"Fn::{name}" for name in FUNCTIONS.split()] + KEYS.split())
odd_values = st.recursive(
    odd_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a template."""
    result = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            result += paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            result += paths(item, (*path, index))
    return result


@st.composite
def odd_templates(draw: st.DrawFn, templates: list[Any] = TEMPLATES) -> Any:
    """Return one of the templates with a few values replaced, wrapped in a function, copied, or removed."""
    template = copy.deepcopy(draw(st.sampled_from(templates)))
    for _ in range(draw(st.integers(1, 4))):
        places = paths(template)
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        parent = template
        for key in parents:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "wrap", "copy", "drop"])):
            case "replace":
                parent[last] = draw(odd_values)
            case "wrap":
                parent[last] = {draw(names): parent[last]}
            case "copy":
                parent[last] = copy.deepcopy(_at(template, draw(st.sampled_from(places))))
            case _:
                del parent[last]
    return template


def _at(template: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        template = template[key]
    return template


def checked(file: Path) -> Report | str:
    """Return the report, or the one-line error."""
    try:
        return check_template(file)
    except ConfigurationError as error:
        return str(error)


@given(template=odd_templates())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_unusual_template_gets_a_report_or_an_error(template: Any, tmp_path_factory: pytest.TempPathFactory):
    """For any content of a template, there is a report, or an error that names the file."""
    file = tmp_path_factory.mktemp("odd") / "template.json"
    file.write_text(json.dumps(template))
    result = checked(file)
    assert isinstance(result, Report) or result.startswith(str(file))


@given(plan=odd_templates([PLAN]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_unusual_plan_gets_a_report_or_an_error(plan: Any, tmp_path_factory: pytest.TempPathFactory):
    """For any content of a Terraform plan, too."""
    file = tmp_path_factory.mktemp("odd") / "plan.json"
    file.write_text(json.dumps(plan))
    result = checked(file)
    assert isinstance(result, Report) or result.startswith(str(file))


@given(
    levels=st.integers(1, 400), opening=st.sampled_from(["[", "{a: ", '{"a":', '{"a":\t[', "- "]), closed=st.booleans()
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_nesting_never_ends_the_process(
    levels: int, opening: str, closed: bool, tmp_path_factory: pytest.TempPathFactory
):
    """However deep, in whatever form: one line, which names the file."""
    text = f"Resources: {opening * levels}x" if opening[0] in "[{" else f"{opening * levels}x"
    closing = {"[": "]", "{": "}", "-": ""}[opening[0]] + ("]" if opening.endswith("[") and len(opening) > 1 else "")
    file = tmp_path_factory.mktemp("odd") / "template.yaml"
    file.write_text(text + closing[::-1] * levels * closed)
    result = checked(file)
    assert isinstance(result, Report) or (result.startswith(str(file)) and "\n" not in result)


@given(value=odd_values)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_file_that_is_not_a_template_gets_a_report_or_an_error(value: Any, tmp_path_factory: pytest.TempPathFactory):
    """The file, or its resources, may be any JSON value."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "value.json").write_text(json.dumps(value))
    (folder / "resources.json").write_text(json.dumps({"Resources": value}))
    for file in folder.iterdir():
        result = checked(file)
        assert isinstance(result, Report) or result.startswith(str(file))


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_get_a_report_or_an_error(content: bytes, tmp_path_factory: pytest.TempPathFactory):
    """The file may contain any bytes."""
    file = tmp_path_factory.mktemp("odd") / "template.yaml"
    file.write_bytes(content)
    result = checked(file)
    assert isinstance(result, Report) or result.startswith(str(file))
