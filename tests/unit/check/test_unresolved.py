"""Strings of a template with parts that are known only at deployment."""

from hypothesis import given
from hypothesis import strategies as st

from fanfold.check.unresolved import Reference, Unresolved, ending, joined, parsed, references, sole, split

ARN = Reference("Jobs.Arn")
texts = st.lists(
    st.sampled_from(["a", ":", "/", "${Jobs.Arn}", "${A:b/c}", "{{resolve:ssm:/a/b}}", "$", "}"]), max_size=8
)


@given(pieces=texts)
def test_parsing_and_writing_a_text_preserves_it(pieces: list[str]):
    """Parsing the written text again gives an equal value."""
    whole = "".join(pieces)
    text = parsed(whole)
    assert str(text) == whole
    assert parsed(str(text)) == text
    assert isinstance(text, Unresolved) is bool(references(text))


@given(pieces=texts)
def test_split_and_joined_are_inverse(pieces: list[str]):
    """Separators inside a reference are not split."""
    text = parsed("".join(pieces))
    parts = split(text, ":")
    assert joined(*(piece for part in parts for piece in (":", part))) == joined(":", text)
    assert not any(":" in str(part) for part in parts if not isinstance(part, Unresolved))
    assert [reference for part in parts for reference in references(part)] == list(references(text))


def test_a_reference_knows_its_resource_and_attribute():
    """Both are empty if the name has none."""
    assert (ARN.resource, ARN.attribute, ARN.stored) == ("Jobs", "Arn", False)
    assert (Reference("Stage").resource, Reference("Stage").attribute) == ("Stage", "")
    assert Reference("{{resolve:ssm:/a}}").stored


def test_sole_returns_a_reference_only_if_it_is_the_whole_text():
    """A longer text does not refer to a resource."""
    assert sole(parsed("${Jobs.Arn}")) == ARN
    assert [sole(value) for value in (parsed("${Jobs.Arn}x"), parsed("x"), "x", 5, None)] == [None] * 5


def test_the_ending_of_an_arn_is_its_name():
    """Separators inside its references do not count."""
    assert ending(parsed("arn:aws:sqs:${AWS::Region}:1:jobs-${Stage}")) == Unresolved(("jobs-", Reference("Stage")))
    assert ending("https://sqs/1/jobs.fifo") == "jobs.fifo"
    assert ending(parsed("{{resolve:ssm:/a/b}}")) == parsed("{{resolve:ssm:/a/b}}")
