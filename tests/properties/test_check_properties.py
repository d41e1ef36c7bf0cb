"""``fanfold check`` never fails on an odd template: it reports, or says in one line what it cannot read."""

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

CORPUS = Path(__file__).parents[1] / "check_corpus"
SIDECARS = (".fix.json", ".findings.json")
TEMPLATES = [
    json.loads(json.dumps(decode(str(file))[0]))
    for file in sorted(CORPUS.glob("*/*"))
    if not file.name.endswith(SIDECARS)
]

odd_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["AWS::NoValue", "${", "${}", "${A}", "${!A}", "*", "arn:aws:sqs:::x.fifo", "{}", "[", "{{resolve:ssm:x}}"]
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
    found = [path] if path else []
    if isinstance(value, dict):
        for key, each in value.items():
            found += paths(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            found += paths(each, (*path, index))
    return found


@st.composite
def odd_templates(draw: st.DrawFn) -> Any:
    """A template of the corpus in which a few values are replaced, wrapped in a function, moved or taken away."""
    template = copy.deepcopy(draw(st.sampled_from(TEMPLATES)))
    for _ in range(draw(st.integers(1, 4))):
        places = paths(template)
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        inside = template
        for key in parents:
            inside = inside[key]
        match draw(st.sampled_from(["replace", "wrap", "copy", "drop"])):
            case "replace":
                inside[last] = draw(odd_values)
            case "wrap":
                inside[last] = {draw(names): inside[last]}
            case "copy":
                inside[last] = copy.deepcopy(_at(template, draw(st.sampled_from(places))))
            case _:
                del inside[last]
    return template


def _at(template: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        template = template[key]
    return template


def checked(file: Path) -> Report | str:
    """Return the report, or the one line that is said instead."""
    try:
        return check_template(file)
    except ConfigurationError as error:
        return str(error)


@given(template=odd_templates())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_odd_template_is_reported_on_or_refused_in_words(template: Any, tmp_path_factory: pytest.TempPathFactory):
    """Whatever a template holds, there is a report, or a line that names the file."""
    file = tmp_path_factory.mktemp("odd") / "template.json"
    file.write_text(json.dumps(template))
    result = checked(file)
    assert isinstance(result, Report) or result.startswith(str(file))


@given(value=odd_values)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_no_template_is_refused_in_words(value: Any, tmp_path_factory: pytest.TempPathFactory):
    """Any JSON value, as a file or as its resources."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "value.json").write_text(json.dumps(value))
    (folder / "resources.json").write_text(json.dumps({"Resources": value}))
    for file in folder.iterdir():
        result = checked(file)
        assert isinstance(result, Report) or result.startswith(str(file))


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_file_is_refused_in_words(content: bytes, tmp_path_factory: pytest.TempPathFactory):
    """Bytes of any kind."""
    file = tmp_path_factory.mktemp("odd") / "template.yaml"
    file.write_bytes(content)
    result = checked(file)
    assert isinstance(result, Report) or result.startswith(str(file))
