"""Whether a run has ended depends on what its markers say, not on how often or in which order they say it."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold._jobs.tally import Tally
from fanfold._ports.ledger_encoding import decode_ids, encode_ids, results_from_json, results_to_json
from fanfold._ports.run import Marker
from fanfold.errors import LedgerError
from strategies import json_values

TOTALS = st.integers(0, 12)
IDS = st.integers(-2, 14)


@st.composite
def marker_lists(draw: st.DrawFn) -> list[Marker]:
    """Markers as a ledger holds them: each with a name of its own, and no segment twice in one."""
    return [
        Marker(
            f"marker-{number}",
            0,
            ids=sorted(draw(st.sets(IDS, max_size=6)) - failed.keys()),
            failed=failed,
            receive_counts=draw(st.dictionaries(IDS, st.integers(2, 9), max_size=3)),
        )
        for number, failed in enumerate(
            draw(st.lists(st.dictionaries(IDS, st.sampled_from(["broken", "late", ""]), max_size=3), max_size=8))
        )
    ]


MARKERS = marker_lists()


def tally_of(total: int, markers: list[Marker]) -> Tally:
    tally = Tally(total)
    for marker in markers:
        tally.add(marker)
    return tally


def ends_in(marker: Marker, total: int) -> list[int]:
    return [segment for segment in [*marker.ids, *marker.failed] if 0 <= segment < total]


@given(st.lists(st.integers(0, 10**9)))
@settings(deadline=None, max_examples=50)
def test_ids_come_out_as_a_set_in_order(ids):
    """What is decoded is what was encoded, once each and ascending."""
    assert decode_ids(encode_ids(ids)) == sorted(set(ids))


@given(st.text() | st.text("0123456789,- "))
@settings(deadline=None, max_examples=50)
def test_any_text_is_ids_in_order_or_a_ledger_error(text):
    """Any text is decoded to ids that ascend, or refused with a ledger error."""
    with contextlib.suppress(LedgerError):
        ids = decode_ids(text)
        assert list(ids) == sorted(ids)


@given(st.dictionaries(st.integers(0, 10**6), json_values(), max_size=5))
@settings(deadline=None, max_examples=50)
def test_results_come_out_as_the_values_they_are(results):
    """Results written as one text are read as the same values of the same segments."""
    written = {segment: json.dumps(value) for segment, value in results.items()}
    read = results_from_json(results_to_json(written).encode())
    assert {segment: json.loads(text) for segment, text in read.items()} == results


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_a_tally_counts_as_sets_do(total, markers):
    """Done is what any marker says is done, failed what any says failed and none says is done, the rest is missing."""
    segments = set(range(total))
    done = segments & {segment for marker in markers for segment in marker.ids}
    failed = segments & {segment for marker in markers for segment in marker.failed} - done
    tally = tally_of(total, markers)
    assert tally.done == len(done)
    assert list(tally.failed) == sorted(failed)
    assert tally.missing == len(segments - done - failed)


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_the_reason_of_a_failure_is_one_that_a_marker_gave(total, markers):
    """Each segment that failed has a reason that a marker gave for that segment."""
    given_reasons = {item for marker in markers for item in marker.failed.items()}
    assert set(tally_of(total, markers).failed.items()) <= given_reasons


@given(TOTALS, MARKERS.flatmap(lambda markers: st.tuples(st.just(markers), st.permutations(markers))))
@settings(deadline=None, max_examples=50)
def test_the_order_of_markers_does_not_matter(total, orders):
    """The same markers in another order give the same done, failed and missing segments and the same deliveries."""
    first, second = (tally_of(total, order) for order in orders)
    assert (first.done, list(first.failed), first.missing) == (second.done, list(second.failed), second.missing)
    assert first.deliveries == second.deliveries


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_markers_that_repeat_change_nothing_that_has_ended(total, markers):
    """Markers that are counted twice leave done, failed and missing as they were."""
    once, twice = tally_of(total, markers), tally_of(total, markers + markers)
    assert (once.done, once.failed, once.missing) == (twice.done, twice.failed, twice.missing)


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_deliveries_are_the_receive_counts_of_what_ended(total, markers):
    """Each end of a segment counts as many deliveries as its marker says, one if it says nothing."""
    expected = sum(marker.receive_counts.get(segment, 1) for marker in markers for segment in ends_in(marker, total))
    assert tally_of(total, markers).deliveries == expected


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_every_end_but_the_first_of_a_segment_is_a_duplicate(total, markers):
    """Of the ends of a segment, done or failed and in any order, all but one are duplicates."""
    ends = [segment for marker in markers for segment in ends_in(marker, total)]
    assert tally_of(total, markers).duplicates == len(ends) - len(set(ends))
