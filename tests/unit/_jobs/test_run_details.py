"""The details of a run, from its ledger."""

from dataclasses import replace

from fanfold import inmemory
from fanfold._jobs.failure_groups import shape_of
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._ports.backend import Backend
from fanfold._ports.run import Attempt, FailedBatch, Hop, Marker
from ledgers import RUN

LATE = Attempt(0, 0, 0, 1, 100.0, 2.0, "KeyError", "'carrier'", "app.py:12", "request", "stream", 5)


async def details_of(total: int, *entries: Marker | Hop | FailedBatch, gen: int = 0) -> RunDetails:
    """Return the details of a run with these entries in its ledger."""
    backend: Backend = inmemory.backend(clock=lambda: 160.0)
    run = replace(RUN, created_at=100.0, gen=gen, redos=["redo"] * gen, redo=0)
    await backend.ledger.open_run(run)
    await backend.ledger.seal(run.id, total)
    await backend.put_result("redo", b'""')
    for entry in entries:
        if isinstance(entry, Marker):
            await backend.ledger.put_marker(run.id, entry)
        elif isinstance(entry, Hop):
            await backend.ledger.put_hop(run.id, entry)
        else:
            await backend.ledger.put_attempts(run.id, entry)
    return await read_details(run, backend)


async def test_a_failed_attempt_is_known_before_the_segment_has_ended():
    """The group states the error, the place, and how many attempts are left."""
    attempts = [replace(LATE, segment=segment, number=segment + 1, tag=segment + 1) for segment in (0, 1)]
    details = await details_of(3, FailedBatch("a", 0, attempts))
    (group,) = details.failing_now
    assert (details.failing, details.failed, details.deliveries, details.retries) == (2, 0, 3, 1)
    assert (group.error, group.message, group.place) == ("KeyError", "'carrier'", "app.py:12")
    assert (list(group.segments), group.highest_attempt, group.max_attempts) == ([0, 1], 2, 5)
    assert group.example == attempts[0]
    assert not details.is_exact
    assert list(details.attempts()) == attempts


async def test_an_end_has_its_times_its_deliveries_and_its_parts():
    """The times of a continued segment are those of all parts."""
    marker = Marker(
        "m",
        0,
        ids=[0, 1],
        items=[4, 5],
        hops={1: 1},
        receive_counts={0: 2},
        began_at=[110.0, 120.0],
        seconds=[1.0, 2.0],
        environment="stream",
    )
    hop = Hop(1, 0, 0, {}, "1", items=7, seconds=8.0)
    details = await details_of(2, marker, hop, FailedBatch("a", 0, [LATE]))
    first, second = details.ends()
    assert (first.began_at, first.seconds, first.attempts, first.parts, first.items) == (110.0, 1.0, 2, 1, 4)
    assert (second.began_at, second.seconds, second.attempts, second.parts, second.items) == (120.0, 10.0, 2, 2, 12)
    assert first.environment == "stream"
    assert details.is_exact
    assert (details.deliveries, details.retries, details.failing, details.failed_attempts) == (4, 1, 0, 1)
    assert details.seconds is not None
    assert details.seconds.total == 11.0


async def test_failures_with_the_same_shape_are_one_group():
    """The numbers in their messages differ."""
    attempts = [replace(LATE, segment=segment, message=f"row {segment}: 0x{segment}ab") for segment in range(3)]
    marker = Marker("m", 0, failed={0: "KeyError: row 0: 0x0ab", 1: "ValueError: no", 3: "moved"}, ended_at=150.0)
    details = await details_of(9, marker, FailedBatch("a", 0, attempts))
    assert [(group.error, list(group.segments)) for group in details.failed_groups] == [("KeyError", [0, 1]), ("", [3])]
    assert [list(group.segments) for group in details.failing_now] == [[2]]
    assert details.rate == 3 / 60
    assert details.estimated_end == 160.0 + 6 / details.rate


def test_numbers_do_not_belong_to_the_shape_of_a_message():
    """A key of a dict does."""
    assert shape_of("'carrier' in row 17, 0xff") == "'carrier' in row #, #"
