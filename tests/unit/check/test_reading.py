"""Files that are refused before they are parsed, and loops that cannot be expanded."""

from pathlib import Path

import pytest

from fanfold.check.bounds import check_bounds
from fanfold.check.loops import set_defaults, why_not_expanded
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


def loop(items: object, body: object = None, **definitions: object) -> dict[str, object]:
    return {
        "Parameters": definitions,
        "Resources": {"Fn::ForEach::A": ["X", items, body or {"Q${X}": {"Type": "A::B::C"}}]},
    }


@pytest.mark.parametrize(
    ("decoded", "unknown"),
    [
        (loop(["a", "b"]), ""),
        (loop([{"Ref": "N"}], N={"Type": "String"}), "N"),
        (loop({"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "k"]}), "AWS::Region"),
        (loop(["a"], {"Fn::ForEach::B": ["Y", [{"Ref": "X"}], {"Q${X}${Y}": {"Type": "A::B::C"}}]}), ""),
        (loop(["a"], {"Fn::ForEach::B": ["Y", {"Ref": "Z"}, {"Q${Y}": {"Type": "A::B::C"}}]}), "Z"),
    ],
)
def test_a_loop_over_unknown_names_is_not_expanded(decoded: dict[str, object], unknown: str):
    """The names may be those of parameters, of AWS, or of the loop around it."""
    why = why_not_expanded("t.yaml", {"Transform": "AWS::LanguageExtensions", **decoded}, "Fn::ForEach::A")
    assert why == (f"{unknown}, which it loops over, is known only at deployment" if unknown else "")


def test_a_malformed_loop_has_the_reason_of_the_parser():
    """The other loops do not matter."""
    decoded = {
        "Transform": "AWS::LanguageExtensions",
        "Resources": {"Fn::ForEach::A": ["X", ["a"], ["odd"]], "Fn::ForEach::B": ["Y"]},
    }
    assert why_not_expanded("t.yaml", decoded, "Fn::ForEach::B").startswith("Error transforming template")


def test_the_values_of_parameters_are_those_of_loops():
    """A parameter that is not defined, or not an object, is left alone."""
    decoded = {"Parameters": {"N": {"Type": "CommaDelimitedList"}, "Odd": 5}}
    set_defaults(decoded, {"N": "a,b", "Odd": "x", "Missing": "y"})
    assert decoded == {"Parameters": {"N": {"Type": "CommaDelimitedList", "Default": "a,b"}, "Odd": 5}}
    set_defaults({}, {"N": "a"})
