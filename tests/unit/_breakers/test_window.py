"""When a circuit opens, decided from the last results of one execution environment and a count of all of them."""

from hypothesis import given
from hypothesis import strategies as st

from fanfold._breakers.window import RESULTS, SPAN_SECONDS, ResultWindow


def window(results: str = "", *, failures: int = 5, share: float = 0.8, every: float = 0.0) -> ResultWindow:
    """Return a window with these results, "x" for a failure, at intervals of ``every`` seconds from 0."""
    filled = ResultWindow(failures, share)
    for number, result in enumerate(results):
        filled.failed(number * every) if result == "x" else filled.succeeded()
    return filled


def test_an_empty_window_is_not_down():
    """The count of all environments has no effect."""
    assert not window().is_down(1_000, 1_000)


def test_five_failures_in_a_row_open():
    """The default number of failures; four are not enough."""
    assert not window("x" * 4).is_down(0, 0)
    assert window("x" * 5).is_down(0, 0)


def test_failures_of_all_environments_count_from_three_failures_here():
    """Two failures of this environment may be its own fault."""
    assert not window("x" * 2).is_down(0, 1_000)
    assert not window("x" * 3).is_down(0, 4)
    assert window("x" * 3).is_down(0, 5)


def test_two_failures_open_if_no_more_are_asked_for():
    """The setting ``failures=2``."""
    assert not window("x", failures=2).is_down(0, 2)
    assert window("xx", failures=2).is_down(0, 0)


def test_the_share_of_the_last_results_must_be_reached():
    """Exactly 16 of 20 are 80 %."""
    successes = "." * RESULTS
    assert not window(successes + "x" * 15).is_down(0, 1_000)
    assert window(successes + "x" * 16).is_down(0, 0)


def test_a_failing_third_does_not_open():
    """A service that works for most calls is called."""
    assert not window("x.." * 10).is_down(1_000, 1_000)


def test_two_failures_that_span_thirty_seconds_open():
    """Where there is little traffic, five failures would take too long."""
    slow = window("xx")
    assert not slow.is_down(SPAN_SECONDS - 0.1, 0)
    assert slow.is_down(SPAN_SECONDS, 0)


def test_one_failure_never_opens():
    """However long ago it was."""
    assert not window("x").is_down(10_000, 1_000)


def test_a_success_between_two_failures_begins_the_span_again():
    """They show that the service is back in between."""
    broken = window("x.x", every=20, share=0.5)
    assert not broken.is_down(60, 0)
    assert broken.is_down(40 + SPAN_SECONDS, 0)


def test_the_first_failure_after_a_success_begins_the_span():
    """Later ones do not move it, and a clock that goes back moves it back."""
    late = window(share=0.1)
    late.failed(10)
    late.failed(35)
    assert late.is_down(40, 0)
    late.failed(5)
    assert late.is_down(35, 0)


def test_a_cleared_window_forgets_everything():
    """The service is back."""
    cleared = window("x" * 10)
    cleared.clear()
    assert (cleared.bits, cleared.count) == (0, 0)
    cleared.failed(100)
    cleared.failed(101)
    assert not cleared.is_down(101, 1_000)


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 40)), max_size=60),
    st.integers(2, 30),
    st.floats(0.01, 1),
    st.integers(0, 100),
)
def test_a_window_decides_as_its_rules_state(results, failures, share, failures_of_all):
    """The bits of an integer are the last 20 results."""
    filled, now, last, since = ResultWindow(failures, share), 0.0, list[bool](), None
    for failed, seconds in results:
        now += seconds
        last = [*last, failed][-RESULTS:]
        if failed:
            filled.failed(now)
            since = now if since is None else since
        else:
            filled.succeeded()
            since = None
    is_span = since is not None and now - since >= SPAN_SECONDS
    is_count = sum(last) >= min(3, failures) and max(sum(last), failures_of_all) >= failures
    expected = sum(last) >= 2 and sum(last) >= share * len(last) and (is_span or is_count)
    assert filled.is_down(now, failures_of_all) is expected
    assert filled.count == len(last)
    assert filled.bits.bit_count() == sum(last)
