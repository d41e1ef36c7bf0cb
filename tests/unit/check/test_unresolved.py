"""A text of which a part is known at deployment only."""

from hypothesis import given
from hypothesis import strategies as st

from fanfold.check.unresolved import Reference, Unresolved, ending, joined, parsed, references, sole, split

ARN = Reference("Jobs.Arn")
texts = st.lists(
    st.sampled_from(["a", ":", "/", "${Jobs.Arn}", "${A:b/c}", "{{resolve:ssm:/a/b}}", "$", "}"]), max_size=8
)


@given(pieces=texts)
def test_a_text_is_written_as_it_was_read(pieces: list[str]):
    """And read again it is equal."""
    whole = "".join(pieces)
    text = parsed(whole)
    assert str(text) == whole
    assert parsed(str(text)) == text
    assert isinstance(text, Unresolved) is bool(references(text))


@given(pieces=texts)
def test_what_is_split_off_and_put_together_again_is_the_same(pieces: list[str]):
    """A separator in a reference separates nothing."""
    text = parsed("".join(pieces))
    parts = split(text, ":")
    assert joined(*(each for part in parts for each in (":", part))) == joined(":", text)
    assert not any(":" in str(part) for part in parts if not isinstance(part, Unresolved))
    assert [each for part in parts for each in references(part)] == list(references(text))


def test_a_reference_knows_its_resource_and_attribute():
    """As far as there are any."""
    assert (ARN.resource, ARN.attribute, ARN.stored) == ("Jobs", "Arn", False)
    assert (Reference("Stage").resource, Reference("Stage").attribute) == ("Stage", "")
    assert Reference("{{resolve:ssm:/a}}").stored


def test_a_text_that_is_one_reference_is_told_from_one_that_has_more():
    """Only the first means a resource."""
    assert sole(parsed("${Jobs.Arn}")) == ARN
    assert [sole(each) for each in (parsed("${Jobs.Arn}x"), parsed("x"), "x", 5, None)] == [None] * 5


def test_the_ending_of_an_arn_is_its_name():
    """Whatever lies in its references."""
    assert ending(parsed("arn:aws:sqs:${AWS::Region}:1:jobs-${Stage}")) == Unresolved(("jobs-", Reference("Stage")))
    assert ending("https://sqs/1/jobs.fifo") == "jobs.fifo"
    assert ending(parsed("{{resolve:ssm:/a/b}}")) == parsed("{{resolve:ssm:/a/b}}")
