"""Files that are refused before they are parsed, and loops that cannot be expanded."""

from pathlib import Path
from typing import Any

import pytest

from checked import template
from fanfold.check.bounds import check_bounds
from fanfold.check.loops import remove_loops, set_defaults
from fanfold.errors import ConfigurationError

FILE = Path("template.yaml")
DEEP = "is nested too deeply: more than 100 levels"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 99 + "]" * 99,
        "a: &a [1, 2]\nb: *a\nc: *a",
        "- " * 99 + "x",
        '{"a":\t"[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
        "\t" + "[]" * 300,
        "b: *nowhere",
    ],
)
def test_an_ordinary_file_is_within_the_bounds(text: str):
    """Brackets in strings do not count; a file that is not YAML is left to the parser."""
    check_bounds(FILE, text)


@pytest.mark.parametrize(
    "text",
    ["[" * 101, "- " * 101 + "x", '{"a":' * 101, "{\t" + '"a":[{' * 60, "\n".join(" " * n + "a:" for n in range(102))],
)
def test_a_file_with_too_many_levels_is_refused(text: str):
    """In brackets or by indentation, in YAML or JSON, closed or not."""
    with pytest.raises(ConfigurationError, match=DEEP):
        check_bounds(FILE, text)


QUEUES = {"Q${X}": {"Type": "A::B::C"}}


def removed(resources: dict[str, Any], **definitions: Any) -> list[tuple[Any, ...]]:
    """Return the path and the reason of each loop that is removed."""
    decoded = {"Transform": "AWS::LanguageExtensions", "Parameters": definitions, "Resources": resources}
    return [tuple(loop) for loop in remove_loops("t.yaml", decoded)]


@pytest.mark.parametrize(
    ("items", "body", "path", "unknown"),
    [
        (["a", "b"], QUEUES, (), ""),
        ([{"Ref": "Known"}], QUEUES, (), ""),
        ([{"Ref": "N"}], QUEUES, (), "N"),
        ({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "k"]}, QUEUES, (), "AWS::Region"),
        (["a"], {"Fn::ForEach::B": ["Y", [{"Ref": "X"}], {"Q${X}${Y}": {"Type": "A::B::C"}}]}, (), ""),
        (["a"], {"Fn::ForEach::B": ["Y", {"Ref": "Z"}, QUEUES], **QUEUES}, (2, "Fn::ForEach::B"), "Z"),
    ],
)
def test_a_loop_over_unknown_names_is_removed(items: Any, body: Any, path: tuple[Any, ...], unknown: str):
    """The names may be those of parameters, of AWS, or of the loop around it."""
    loops = removed({"Fn::ForEach::A": ["X", items, body]}, Known={"Default": "a"}, N={"Type": "String"}, Odd=5)
    why = f"{unknown}, which it loops over, is known only at deployment"
    assert loops == ([(("Resources", "Fn::ForEach::A", *path), why)] if unknown else [])


def test_a_loop_in_the_properties_of_a_resource_is_removed_too(check: Any):
    """The resource stays, without what the loop would add."""
    event = {"E${X}": {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": ["Jobs", "Arn"]}}}}
    content = template(function={"Events": {"Fn::ForEach::E": ["X", {"Ref": "Open"}, event]}})
    content["Transform"] = ["AWS::LanguageExtensions", content["Transform"]]
    report = check(content)
    assert report.mappings == 0
    assert [note.subject for note in report.not_known] == ["the content of Fn::ForEach::E"]


def test_a_malformed_loop_has_the_reason_of_the_parser():
    """The other loops stay."""
    resources = {"Fn::ForEach::A": ["X", ["a"], QUEUES], "Fn::ForEach::B": ["Y"]}
    ((path, why),) = removed(resources)
    assert path == ("Resources", "Fn::ForEach::B")
    assert why.startswith("Error transforming template")
    assert list(resources) == ["Fn::ForEach::A"]
    assert list(remove_loops("t.yaml", {"Parameters": [], "Resources": {}})) == []


def test_the_values_of_parameters_are_those_of_loops():
    """A parameter that is not defined, or not an object, is left alone."""
    decoded = {"Parameters": {"N": {"Type": "CommaDelimitedList"}, "Odd": 5}}
    set_defaults(decoded, {"N": "a,b", "Odd": "x", "Missing": "y"})
    assert decoded == {"Parameters": {"N": {"Type": "CommaDelimitedList", "Default": "a,b"}, "Odd": 5}}
    set_defaults({}, {"N": "a"})
