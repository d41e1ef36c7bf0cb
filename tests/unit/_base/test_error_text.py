"""The text of an error: as Python writes it, in a bounded number of steps and characters."""

import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._base.error_text import MAX_CHARACTERS, MAX_ERRORS, error_text, related_errors
from odd_errors import (
    STEPS,
    FrozenError,
    Linked,
    Steps,
    Unprintable,
    chain,
    group,
    link,
    nested_groups,
    tree,
    two_chains,
)


@pytest.fixture(autouse=True)
def steps() -> Steps:
    STEPS.count = 0
    return STEPS


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(50_000),
        lambda: chain(50_000, by="context"),
        lambda: two_chains(50_000),
        lambda: tree(12),
        lambda: group(50_000),
        lambda: nested_groups(500),
        lambda: link(group(3), cause=chain(50_000)),
        lambda: ExceptionGroup("group", [chain(50_000), chain(50_000)]),
    ],
    ids=["causes", "contexts", "both", "tree", "group", "groups", "group with causes", "causes in a group"],
)
def test_an_error_with_many_others_is_formatted_in_few_steps(make: Any, steps: Steps):
    """50,000 causes took 2.8 s on the event loop."""
    error = make()
    steps.count = 0
    text = error_text(error)
    assert steps.count <= 20 * MAX_ERRORS
    assert "more characters" in text or "the first 20 of the errors" in text
    assert len(text) <= MAX_CHARACTERS + 100


@pytest.mark.parametrize("by", ["cause", "context"])
@pytest.mark.parametrize("kind", [Linked, FrozenError])
@pytest.mark.parametrize("length", [2, MAX_ERRORS, MAX_ERRORS + 1, 100])
def test_formatting_changes_no_error(kind: type[BaseException], length: int, by: str):
    """A handler may have stored the error: causes, contexts, tracebacks and whether a context is suppressed remain."""
    error = chain(length, kind, by=by)

    def state() -> list[Any]:
        states, current = [], error
        while current is not None:
            states.append((current, current.__suppress_context__, current.__traceback__))
            current = current.__cause__ or current.__context__
        return states

    before = state()
    error_text(error)
    assert len(before) == length
    assert state() == before


def test_the_error_itself_and_the_nearest_causes_are_shown():
    """The cause that started a long chain is not shown, and the text states that there are more."""
    text = error_text(chain(50_000))
    assert text.startswith("the first 20 of the errors that caused this one or belong to it:\n")
    assert "error 49999" in text
    assert "error 49980" in text
    assert "error 49979" not in text


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - any
        return caught


ERRORS = st.recursive(
    st.builds(lambda text: raised(ValueError(text)), st.text(max_size=20)) | st.builds(lambda: raised(KeyError())),
    lambda errors: (
        st.builds(lambda one, two: link(raised(RuntimeError("x")), cause=one, context=two), errors, errors)
        | st.builds(lambda one: link(raised(FrozenError("x")), context=one), errors)
        | st.builds(
            lambda members: raised(BaseExceptionGroup("group", members)), st.lists(errors, min_size=1, max_size=3)
        )
    ),
    max_leaves=8,
)


@given(ERRORS)
def test_an_ordinary_error_reads_as_python_writes_it(error: BaseException):
    """With its causes, contexts, groups and frames."""
    errors, complete = related_errors(error)
    usual = "".join(traceback.format_exception(error, limit=-20))
    if complete and len(usual) <= MAX_CHARACTERS:
        assert error_text(error) == usual
    assert len(error_text(error)) <= MAX_CHARACTERS + 100
    assert len(errors) <= MAX_ERRORS


@pytest.mark.parametrize("error", [Unprintable(), link(Unprintable(), cause=chain(30)), chain(30, Unprintable)])
def test_an_error_without_a_text_is_named(error: BaseException):
    """Its ``__str__`` raises, even SystemExit."""
    assert "Unprintable: <exception str() failed>" in error_text(error)


class Unreadable(Exception):  # noqa: N818 - short
    @property
    def __notes__(self) -> Any:
        raise SystemExit("no notes")


def test_an_error_that_cannot_be_formatted_is_named():
    """Formatting never raises."""
    assert error_text(Unreadable("x")) == "Unreadable: the error cannot be formatted"


# A line
