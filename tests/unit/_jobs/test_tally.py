"""Counting the segments that have ended, and encoding their ids."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fanfold import inmemory
from fanfold._jobs.tally import Redo, Tally, put_redo, tally_of
from fanfold._ports.ledger_encoding import decode_ids, encode_ids, results_from_json, results_to_json
from fanfold._ports.run import Marker, Run
from fanfold.errors import LedgerError
from fanfold.inmemory import InMemoryLedger


def tally_from(total: int, *markers: Marker) -> Tally:
    tally = Tally(total)
    for marker in markers:
        tally.add(marker)
    return tally


@pytest.mark.parametrize(
    ("ids", "text"), [([3, 4, 9], "3,1,5"), ([], ""), ([0], "0"), ([9, 3, 4, 3], "3,1,5"), ([0, 1, 2], "0,1,1")]
)
def test_ids_are_written_as_the_first_and_the_steps(ids, text):
    """Ids are sorted, deduplicated, and written as differences."""
    assert encode_ids(ids) == text


@pytest.mark.parametrize(("text", "ids"), [("3,1,5", [3, 4, 9]), ("", []), ("0", [0]), ("0,1,1", [0, 1, 2])])
def test_written_ids_are_read_again(text, ids):
    """Encoded differences are decoded to the ids."""
    assert decode_ids(text) == ids


@pytest.mark.parametrize("text", [",", "1,", "-1", "1,-1", "1.5", "a", " 1", "²", "1;2", "9" * 5_000])
def test_an_unreadable_list_is_shown(text):
    """A text that is not an encoded list is refused, and the error shows it."""
    with pytest.raises(LedgerError, match="the ledger holds an unreadable list of segments: '"):
        decode_ids(text)


def test_the_error_shows_the_beginning_of_a_long_list():
    """It shows the first 80 characters."""
    with pytest.raises(LedgerError) as raised:
        decode_ids("x" * 1_000)
    assert str(raised.value).endswith(f"segments: {'x' * 80!r}")


def test_a_step_has_eighteen_digits_at_most():
    """No run has that many segments, so a longer number is corrupt."""
    assert decode_ids("9" * 18) == [10**18 - 1]
    with pytest.raises(LedgerError):
        decode_ids("9" * 19)


def test_results_are_read_as_the_text_that_was_written():
    """Without spaces, so that a result is the same wherever it was stored."""
    results = {0: '{"a":[1,2]}', 3: '"text"'}
    assert results_from_json(results_to_json(results)) == results


def test_nothing_has_ended_at_first():
    """Before the first marker, every segment is missing."""
    tally = Tally(3)
    assert (tally.total, tally.done, tally.failed, tally.missing) == (3, 0, {}, 3)
    assert tally.duplicates == 0


def test_a_run_without_segments_has_none_missing():
    """An empty run has ended before it starts."""
    assert Tally(0).missing == 0


def test_a_segment_outside_the_run_is_ignored():
    """Ids below 0, or equal to the total or above, do not change any count."""
    tally = tally_from(2, Marker("a", 0, ids=[-1, 2, 99], failed={-1: "no", 2: "no"}))
    assert (tally.done, tally.failed, tally.missing) == (0, {}, 2)
    assert tally.duplicates == 0


@pytest.mark.parametrize("first_done", [True, False])
def test_done_overrides_failed(first_done):
    """A segment that failed in one marker and is done in another is done, whichever is read first."""
    done, failed = Marker("a", 0, ids=[0]), Marker("b", 0, failed={0: "broken"})
    tally = tally_from(1, *([done, failed] if first_done else [failed, done]))
    assert (tally.done, tally.failed, tally.missing) == (1, {}, 0)


@pytest.mark.parametrize("first_done", [True, False])
def test_a_segment_that_is_done_and_failed_ended_twice(first_done):
    """A segment that ended in two markers counts as one duplicate, whichever is read first."""
    done, failed = Marker("a", 0, ids=[0]), Marker("b", 0, failed={0: "broken"})
    assert tally_from(1, *([done, failed] if first_done else [failed, done])).duplicates == 1


def test_failures_are_listed_in_segment_order():
    """Failed segments are sorted, regardless of the order of the markers."""
    tally = tally_from(9, Marker("a", 0, failed={7: "seven"}), Marker("b", 0, failed={2: "two", 5: "five"}))
    assert list(tally.failed.items()) == [(2, "two"), (5, "five"), (7, "seven")]


def test_duplicates_are_counted():
    """A second end of a segment is a duplicate."""
    tally = tally_from(5, Marker("a", 0, ids=[0, 1, 2], receive_counts={1: 3}), Marker("b", 0, ids=[2, 3]))
    assert tally.duplicates == 1


def test_the_items_of_segments_are_counted_once_and_the_uneven_ones_are_named():
    """A second end has no effect; items that were read before a hop are added."""
    tally = tally_from(
        30,
        Marker("a", 0, ids=list(range(10)), items=[10] * 9 + [1_000]),
        Marker("b", 0, ids=[9], items=[7]),
        Marker("c", 0, ids=list(range(10, 20)), items=[0] * 10),
        Marker("d", 0, ids=[25]),
    )
    tally.add_items(0, 5)
    tally.add_items(30, 1)  # outside the run
    tally.add_items(-1, 1)
    spread = tally.evenness()
    assert spread is not None
    assert (spread.items, spread.least, spread.mean, spread.most) == (1_095, 0, 54.75, 1_000)
    assert spread.uneven == {9: 1_000}


def test_without_item_counts_the_evenness_is_unknown():
    """In ledgers written before items were counted, and in runs without segments."""
    assert tally_from(3, Marker("a", 0, ids=[0, 1])).evenness() is None
    assert Tally(0).evenness() is None


def test_the_ten_largest_of_many_uneven_segments_are_named():
    """Largest first."""
    tally = tally_from(1_000, Marker("a", 0, ids=list(range(1_000)), items=[0] * 988 + list(range(100, 112))))
    spread = tally.evenness()
    assert spread is not None
    assert list(spread.uneven.values()) == list(range(111, 101, -1))


def test_segments_that_are_neither_done_nor_failed_are_missing():
    """In ascending order."""
    assert tally_from(5, Marker("a", 0, ids=[3], failed={1: "no"})).missing_segments() == [0, 2, 4]


def test_exactly_five_times_the_mean_is_not_uneven():
    """A segment is uneven only above that."""
    spread = tally_from(10, Marker("a", 0, ids=list(range(10)), items=[9, *[1] * 9])).evenness()
    assert spread is not None
    assert (spread.most, 5 * spread.mean, spread.uneven) == (9, 9, {})


def test_failed_segments_count_as_missing_again_after_a_redrive():
    """Done segments stay done, and a failure of the previous generation has no effect."""
    tally = tally_from(4, Marker("a", 0, ids=[0], failed={1: "no", 2: "no"}))
    tally.redo(Redo([0, 1, 3]))
    assert (tally.done, tally.failed, tally.missing, tally.duplicates) == (1, {2: "no"}, 2, 0)
    tally.add(Marker("b", 1, ids=[1]))
    assert (tally.done, tally.failed, tally.missing, tally.duplicates) == (2, {2: "no"}, 1, 0)


class RecordingLedger(InMemoryLedger):
    """Records the generations whose markers are read."""

    def __init__(self) -> None:
        super().__init__()
        self.generations: list[int] = []

    def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:
        """Record the generation."""
        self.generations.append(gen)
        return super().markers(run_id, gen)


async def test_the_markers_of_every_generation_are_read_and_no_others():
    """A generation that was not started costs no request."""
    ledger = RecordingLedger()
    for gen in range(3):
        await ledger.put_marker("run", Marker(f"marker-{gen}", gen, ids=[gen]))
    run = Run("run", "job", {}, {}, created_at=0.0, expires_at=1, gen=1, redos=["redo"])
    backend = replace(inmemory.backend(), ledger=ledger)
    await put_redo("redo", Redo([1]), backend)
    seen: list[Marker] = []
    tally = await tally_of(run, 3, backend, also=seen.append)
    assert [marker.ids for marker in seen] == [[0], [1]]
    assert tally.missing_segments() == [2]
    assert ledger.generations == [0, 1]


@pytest.mark.parametrize(
    ("markers", "is_empty"),
    [
        ([], False),
        ([Marker("a", 0, ids=[0, 1], items=[0, 0])], True),
        ([Marker("a", 0, ids=[0], items=[0]), Marker("b", 0, ids=[1], items=[0])], True),
        ([Marker("a", 0, ids=[0, 1], items=[0, 1])], False),
        ([Marker("a", 0, ids=[0, 1])], False),
        ([Marker("a", 0, ids=[0], items=[0], failed={1: "no"})], False),
        ([Marker("a", 0, ids=[0, 1], items=[0, 0], hops={1: 1})], False),
    ],
)
def test_a_run_is_empty_if_every_segment_is_known_to_have_received_nothing(markers: list[Marker], is_empty: bool):
    """A segment that failed, was continued, or has no count may have received items."""
    tally = Tally(2)
    for marker in markers:
        tally.add(marker)
    assert tally.is_empty is is_empty


def test_a_run_without_segments_is_empty():
    """There is nothing to wait for."""
    assert Tally(0).is_empty
