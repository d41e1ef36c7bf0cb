"""CloudFormation's intrinsic functions, evaluated as far as a template allows."""

from typing import Any

import pytest

from fanfold.check.intrinsics import REMOVED, IntrinsicError, Scope, is_function
from fanfold.check.unresolved import Reference, Unresolved

MAPPINGS = {
    "Sizes": {"dev": {"Most": 5, "Least": 1}, "prod": {"Most": 50}},
    "Same": {"eu-west-1": {"Memory": 512}, "us-east-1": {"Memory": 512}},
    "Odd": "no table",
}
CONDITIONS = {
    "Yes": {"Fn::Equals": ["a", "a"]},
    "No": {"Fn::Equals": ["a", "b"]},
    "Open": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
    "OpenToo": {"Condition": "Open"},
    "Known": {"Condition": "Yes"},
    "Either": {"Fn::Or": [{"Condition": "Open"}, {"Condition": "Yes"}]},
    "Neither": {"Fn::Or": [{"Condition": "No"}, {"Condition": "No"}]},
    "Maybe": {"Fn::Or": [{"Condition": "Open"}, {"Condition": "No"}]},
    "Both": {"Fn::And": [{"Condition": "Open"}, {"Condition": "No"}]},
    "NotOpen": {"Fn::Not": [{"Condition": "Open"}]},
    "NotYes": {"Fn::Not": [{"Condition": "Yes"}]},
    "Loop": {"Fn::Not": [{"Condition": "Loop"}]},
    "List": ["Yes"],
    "Odd": {"Fn::Xor": ["Yes"]},
    "Empty": {"Fn::And": []},
}
PARAMETERS = {
    "Stage": {"Type": "String"},
    "Name": {"Type": "String", "Default": "jobs"},
    "Seconds": {"Type": "Number", "Default": 30},
    "Names": {"Type": "CommaDelimitedList", "Default": "a, b"},
    "Numbers": {"Type": "List<Number>"},
    "Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/path"},
    "Odd": "no object",
}


def scope(**parameter_values: str) -> Scope:
    return Scope(
        parameters=PARAMETERS,
        parameter_values=parameter_values,
        mappings=MAPPINGS,
        conditions=CONDITIONS,
        resources={"Jobs", "Table"},
    )


def to(name: str) -> Unresolved:
    return Unresolved((Reference(name),))


def get_att(name: Any) -> dict[str, Any]:
    return {"Fn::GetAtt": name}


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        (5, 5),
        ({"a": [1, {"Ref": "AWS::NoValue"}], "b": {"Ref": "AWS::NoValue"}}, {"a": [1]}),
        ({"Ref": "Name"}, "jobs"),
        ({"Ref": "Seconds"}, 30),
        ({"Ref": "Names"}, ["a", "b"]),
        ({"Ref": "Jobs"}, to("Jobs")),
        ({"Ref": "AWS::Region"}, to("AWS::Region")),
        ({"Ref": "Stage"}, to("Stage")),
        ({"Ref": "Odd"}, to("Odd")),
        ({"Ref": "Nobody"}, to("Nobody")),
        (get_att("Jobs.Arn"), to("Jobs.Arn")),
        (get_att(["Jobs", "Arn"]), to("Jobs.Arn")),
        (get_att(["Jobs", {"Ref": "Name"}]), to("Jobs.jobs")),
        (
            {"Fn::Sub": "a-${Name}-${Jobs.Arn}-${!Not}-${Stage}"},
            Unresolved(("a-jobs-", Reference("Jobs.Arn"), "-", Reference("Not"), "-", Reference("Stage"))),
        ),
        ({"Fn::Sub": ["${A}${Seconds}", {"A": {"Ref": "Name"}}]}, "jobs30"),
        ({"Fn::Sub": ["${A}", {"A": {"Ref": "AWS::NoValue"}}]}, ""),
        ({"Fn::Sub": ["${A}", {"A": True}]}, "true"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Name"}, 1, False]]}, "a-jobs-1-false"),
        ({"Fn::Join": ["-", {"Ref": "Names"}]}, "a-b"),
        ({"Fn::Select": [1, ["a", "b"]]}, "b"),
        ({"Fn::Select": ["0", {"Fn::Split": [",", "x,y"]}]}, "x"),
        ({"Fn::FindInMap": ["Sizes", "prod", "Most"]}, 50),
        ({"Fn::FindInMap": ["Same", {"Ref": "AWS::Region"}, "Memory"]}, 512),
        ({"Fn::FindInMap": ["Sizes", "test", "Most", {"DefaultValue": 7}]}, 7),
        ({"Fn::If": ["Yes", 1, 2]}, 1),
        ({"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}, REMOVED),
        ({"Fn::If": ["Open", 60, 60]}, 60),
        ({"Fn::If": ["Open", 60, "60"]}, 60),
        ({"Fn::If": ["Open", {"Ref": "AWS::NoValue"}, {"Ref": "AWS::NoValue"}]}, REMOVED),
        ({"Fn::ToJsonString": {"a": {"Ref": "Seconds"}}}, '{"a": 30}'),
        ({"Fn::Length": {"Ref": "Names"}}, 2),
    ],
)
def test_known_values_are_evaluated(value: Any, resolved: Any):
    """Parts that are known only at deployment become references."""
    assert scope().resolve(value) == resolved


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("plain", ""),
        (5, ""),
        ([1, {"a": "b"}], ""),
        ({"Ref": "Stage"}, "parameter Stage has no default"),
        ({"Ref": "Stored"}, "parameter Stored is read from Parameter Store at deployment"),
        ({"Ref": "AWS::Region"}, "AWS::Region is known only at deployment"),
        ({"Ref": "Jobs"}, "the name of Jobs is known only at deployment"),
        ({"Ref": "Nobody"}, "Nobody is not a parameter or resource of this template"),
        (get_att("Jobs.Arn"), "Jobs.Arn is known only at deployment"),
        (get_att("Nobody.Arn"), "Nobody is not a resource of this template"),
        ({"Fn::ImportValue": {"Fn::Sub": "${Name}-arn"}}, "it is exported by another stack (jobs-arn)"),
        ({"Fn::Base64": "x"}, "Fn::Base64 is evaluated only at deployment"),
        ({"a": [{"Ref": "Stage"}]}, "parameter Stage has no default"),
        ("{{resolve:ssm:/a}}", "it is a dynamic reference, resolved only at deployment"),
        ("${Loose}", "${Loose} is known only at deployment"),
        ({"Fn::Join": [",", {"Ref": "Numbers"}]}, "parameter Numbers has no default"),
        ({"Fn::Select": [0, {"Ref": "Numbers"}]}, "parameter Numbers has no default"),
        ({"Fn::Select": [{"Ref": "Stage"}, ["a"]]}, "parameter Stage has no default"),
        ({"Fn::Split": [",", {"Ref": "Stage"}]}, "parameter Stage has no default"),
        ({"Fn::Length": {"Ref": "Numbers"}}, "parameter Numbers has no default"),
        ({"Fn::Length": "text"}, "it is not a list"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Stage"}, "Most"]}, "parameter Stage has no default"),
        ({"Fn::FindInMap": ["Odd", {"Ref": "Stage"}, "Most"]}, "parameter Stage has no default"),
        ({"Fn::FindInMap": ["Sizes", "prod", {"Ref": "Stage"}]}, "parameter Stage has no default"),
        ({"Fn::If": ["Open", 1, 2]}, "condition Open cannot be evaluated: parameter Stage has no default"),
        ({"Fn::If": ["OpenToo", 1, 2]}, "condition Open cannot be evaluated: parameter Stage has no default"),
        ({"Fn::If": ["Maybe", 1, 2]}, "condition Open cannot be evaluated: parameter Stage has no default"),
    ],
)
def test_an_unknown_value_has_a_reason(value: Any, why: str):
    """The reason names the first unknown value; it is empty for a known value."""
    evaluated = scope()
    assert evaluated.why(evaluated.resolve(value)) == why


def test_no_value_is_shown_by_its_name():
    """As in templates."""
    assert repr(REMOVED) == "AWS::NoValue"


def test_two_unknown_values_are_equal_only_if_their_text_is_equal():
    """Different items of an unknown list are different queues."""
    evaluated = scope()
    first, same, second = (evaluated.resolve({"Fn::Select": [i, {"Ref": "Numbers"}]}) for i in (0, 0, 1))
    assert first == same != second


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("Yes", True),
        ("No", False),
        ("Known", True),
        ("Open", None),
        ("OpenToo", None),
        ("Either", True),
        ("Neither", False),
        ("Maybe", None),
        ("Both", False),
        ("NotOpen", None),
        ("NotYes", False),
    ],
)
def test_a_condition_is_true_or_false_or_not_known(name: str, truth: bool | None):
    """An unknown operand does not matter if the others decide the result."""
    assert scope().condition(name) is truth


def test_a_parameter_value_overrides_the_default():
    """The default does not count as used."""
    evaluated = scope(Stage="prod", Name="other", Names="x,y", Numbers="1,2")
    assert evaluated.condition("Open") is True
    assert evaluated.resolve({"Ref": "Name"}) == "other"
    assert evaluated.resolve({"Ref": "Numbers"}) == ["1", "2"]
    assert evaluated.resolve({"Ref": "Seconds"}) == 30
    assert evaluated.defaults_used == {"Seconds": 30}


@pytest.mark.parametrize(
    "value",
    [
        {"Ref": 5},
        get_att("Jobs"),
        get_att([1, 2]),
        get_att(["a", "b", "c"]),
        {"Fn::Sub": 5},
        {"Fn::Sub": ["a", "b"]},
        {"Fn::Sub": ["a"]},
        {"Fn::Join": "a"},
        {"Fn::Join": [",", "a"]},
        {"Fn::Select": [0, "a"]},
        {"Fn::Select": ["x", ["a"]]},
        {"Fn::Select": [3, ["a"]]},
        {"Fn::Split": ["", "a"]},
        {"Fn::Split": [",", 5]},
        {"Fn::FindInMap": ["Sizes", "prod"]},
        {"Fn::FindInMap": ["Sizes", "prod", "Least"]},
        {"Fn::FindInMap": ["Odd", "prod", "Least", {}]},
        {"Fn::If": ["Yes", 1]},
        {"Fn::If": [5, 1, 2]},
        {"Fn::If": ["Nobody", 1, 2]},
        {"Fn::If": ["Loop", 1, 2]},
        {"Fn::If": ["List", 1, 2]},
        {"Fn::If": ["Odd", 1, 2]},
        {"Fn::If": ["Empty", 1, 2]},
    ],
)
def test_a_malformed_function_is_an_error(value: Any):
    """CloudFormation would not deploy it."""
    with pytest.raises(IntrinsicError):
        scope().resolve(value)


def test_functions_nested_too_deeply_are_an_error():
    """Python's own recursion error never surfaces."""
    value: Any = "a"
    for _ in range(100):
        value = {"Fn::Join": ["", [value]]}
    with pytest.raises(IntrinsicError, match="too deeply"):
        scope().resolve(value)


def test_a_long_value_is_cut_in_a_message():
    """The message stays on one line."""
    with pytest.raises(IntrinsicError, match=r"…$"):
        scope().resolve({"Ref": ["x" * 200]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"Ref": "a"}, True), ({"Fn::Sub": "a"}, True), ({"a": 1}, False), ({1: 1}, False), ({}, False), ("Ref", False)],
)
def test_a_function_is_an_object_whose_only_key_is_the_name_of_a_function(value: Any, expected: bool):
    """Any other value is data."""
    assert is_function(value) is expected


def test_the_name_in_a_ref_may_be_a_function():
    """AWS::LanguageExtensions allows it; the name may be known only at deployment."""
    here = scope()
    assert here.resolve({"Ref": {"Ref": "Name"}}) == to("jobs")
    assert here.resolve({"Ref": {"Fn::Sub": "Name"}}) == "jobs"
    unknown = here.resolve({"Ref": {"Ref": "Stage"}})
    assert here.why(unknown) == "parameter Stage has no default"
    with pytest.raises(IntrinsicError, match="Ref takes a name, not 5"):
        here.resolve({"Ref": 5})
