"""The completion of a run depends on the content of its markers, not on their order or repetition."""

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
    """Return markers as in a ledger: with unique ids, and no segment twice in one marker."""
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
def test_decoded_ids_are_the_encoded_set_in_order(ids):
    """Each encoded id is decoded once, in ascending order."""
    assert decode_ids(encode_ids(ids)) == sorted(set(ids))


@given(st.text() | st.text("0123456789,- "))
@settings(deadline=None, max_examples=50)
def test_any_text_decodes_to_ids_in_order_or_a_ledger_error(text):
    """Any text is decoded to ascending ids, or refused with a ledger error."""
    with contextlib.suppress(LedgerError):
        ids = decode_ids(text)
        assert list(ids) == sorted(ids)


@given(st.dictionaries(st.integers(0, 10**6), json_values(), max_size=5))
@settings(deadline=None, max_examples=50)
def test_decoded_results_equal_the_encoded_ones(results):
    """Results that are written as one text are read as the same values of the same segments."""
    written = {segment: json.dumps(value) for segment, value in results.items()}
    read = results_from_json(results_to_json(written).encode())
    assert {segment: json.loads(text) for segment, text in read.items()} == results


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_a_tally_counts_like_sets(total, markers):
    """A segment is done if any marker lists it as done, else failed if any lists it as failed, else missing."""
    segments = set(range(total))
    done = segments & {segment for marker in markers for segment in marker.ids}
    failed = segments & {segment for marker in markers for segment in marker.failed} - done
    tally = tally_of(total, markers)
    assert tally.done == len(done)
    assert list(tally.failed) == sorted(failed)
    assert tally.missing == len(segments - done - failed)


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_the_reason_of_a_failure_is_in_a_marker(total, markers):
    """Each failed segment has a reason from a marker of that segment."""
    given_reasons = {item for marker in markers for item in marker.failed.items()}
    assert set(tally_of(total, markers).failed.items()) <= given_reasons


@given(TOTALS, MARKERS.flatmap(lambda markers: st.tuples(st.just(markers), st.permutations(markers))))
@settings(deadline=None, max_examples=50)
def test_the_order_of_markers_does_not_matter(total, orders):
    """In another order, the same markers yield the same done, failed, and missing segments."""
    first, second = (tally_of(total, order) for order in orders)
    assert (first.done, list(first.failed), first.missing) == (second.done, list(second.failed), second.missing)


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_repeated_markers_do_not_change_the_result(total, markers):
    """Markers that are counted twice do not change the done, failed, and missing segments."""
    once, twice = tally_of(total, markers), tally_of(total, markers + markers)
    assert (once.done, once.failed, once.missing) == (twice.done, twice.failed, twice.missing)


@given(TOTALS, MARKERS)
@settings(deadline=None, max_examples=50)
def test_every_end_but_the_first_of_a_segment_is_a_duplicate(total, markers):
    """All ends of a segment except one are duplicates, whether done or failed, in any order."""
    ends = [segment for marker in markers for segment in ends_in(marker, total)]
    assert tally_of(total, markers).duplicates == len(ends) - len(set(ends))
