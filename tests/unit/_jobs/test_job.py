"""A job in this process, from its source to its one output."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fanfold import Deadline, Items, Job, Ranges, Retry, S3Lines, S3Objects, Segment, inmemory
from fanfold._jobs.commit import Check, send_check
from fanfold._jobs.dead_letter_handler import UNTOLD
from fanfold._jobs.report import account_of, watch
from fanfold._jobs.scatter import scatter
from fanfold._ports.queue import Message
from fanfold._ports.run import Marker
from fanfold.errors import ConfigurationError, EnqueueError, FanfoldError, ServiceError, SourceError
from fanfold.testing import ManualClock, make_context
from harness import Bench, RefusingQueue, throttled

NUMBERS = b"".join(b"%d\n" % number for number in range(100))
"""290 bytes of JSON Lines."""
COMPLETE = {"complete": True}


def make_job(*, segment=None, fold=None, **settings) -> Job:
    job = Job("sum", **settings)

    @job.source
    def source(params):
        return S3Lines("source", params.get("key", "numbers.jsonl"), chunk_bytes=params.get("chunk_bytes", 10))

    @job.segment
    async def add(rows, ctx):
        return [number async for number in rows]

    @job.fold
    def join(results):
        return [number for result in results for number in result]

    if segment:
        job.segment(segment)
    if fold:
        job.fold(fold)
    return job


async def started(bench: Bench, **params) -> Bench:
    await bench.job.start(bench.backend, params, "run")
    return bench


async def test_the_results_of_all_segments_are_folded_in_segment_order():
    """Whatever order they ended in, the fold sees the whole, once."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await bench.settle(most=3)
    assert await bench.output() == list(range(100))
    assert (await bench.run()).state == "SUCCEEDED"


async def test_a_listing_is_planned_once_and_resumed_as_it_was():
    """A run over a listing whose scatter failed goes on with what was listed at first, whatever came since."""
    refused: list[int] = []

    def gate(operation: str) -> None:
        if operation == "before checkpoint" and not refused:
            refused.append(1)
            raise throttled()

    async def keys(rows, ctx):
        return [row["key"] async for row in rows]

    bench = Bench(make_job(segment=keys), gate=gate)
    bench.job.source(lambda params: S3Objects("source", keys_per_segment=3))
    bench.store.fill("source", {f"{number:03d}": b"" for number in range(600)})
    with pytest.raises(ServiceError):
        await bench.job.start(bench.backend, {}, "run")
    bench.store.fill("source", {"000-new": b""})
    assert (await bench.job.start(bench.backend, {}, "run")).segments == 200
    await bench.settle()
    assert await bench.output() == [f"{number:03d}" for number in range(600)]


async def test_duplicated_messages_change_nothing():
    """Every segment is delivered twice; the account says so."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    for queued in list(bench.plain.work_queue._messages.values()):
        await bench.plain.work_queue.send([queued.message])
    await bench.settle(most=7)
    assert await bench.output() == list(range(100))
    account = await account_of(bench.plain, await bench.run())
    assert (account.segments, account.done) == (29, 29)
    assert account.deliveries == 29 + account.duplicates > 29


async def test_a_segment_that_fails_at_first_is_delivered_again():
    """Its retry is in the account, and the output is exact."""

    async def segment(rows, ctx):
        if ctx.segment.number == 3 and ctx.receive_count == 1:
            raise ConnectionError
        return [number async for number in rows]

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS))
    await bench.settle()
    assert await bench.output() == list(range(100))
    account = await account_of(bench.plain, await bench.run())
    assert (account.retries, account.deliveries, account.duplicates) == (1, 30, 0)


async def test_a_segment_that_fails_for_good_fails_the_run_with_a_list_and_its_body_is_kept():
    """No output is committed that leaves a segment out."""

    async def segment(rows, ctx):
        if ctx.segment.number == 3:
            raise ConnectionError
        return 1

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS))
    await bench.settle()
    run = await bench.run()
    assert (run.state, run.failed) == ("FAILED", 1)
    assert await bench.output() == {
        "segments": {"3": "moved here by the queue's redrive policy: too many deliveries without success"}
    }
    kept = json.loads(await bench.plain.get_result("runs/run/0/failed/3.json"))
    assert Segment.from_body(kept["body"]).number == 3


async def test_a_message_that_is_no_segment_is_parked_with_the_reason():
    """The run goes on without it, and it is not lost."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await bench.plain.work_queue.send([Message("stray")])
    await bench.settle()
    (parked,) = await bench.plain.parking_queue.receive()
    assert parked.body == "stray"
    assert "the body is not JSON" in json.loads(parked.attributes["fanfold"])["reason"]
    assert (await bench.run()).state == "SUCCEEDED"


@pytest.mark.parametrize(
    ("stray", "reason"),
    [
        (Segment("sum", "other", 0, {"type": "s3-lines"}), "is not in the ledger"),
        (Segment("other", "run", 0, {"type": "s3-lines"}), "of job 'other', not of 'sum'"),
    ],
)
async def test_a_segment_of_an_unknown_run_or_another_job_is_parked(stray: Segment, reason: str):
    """It counts for no run of ours."""
    bench = Bench(make_job())
    await bench.plain.work_queue.send([Message(stray.to_body())])
    await bench.settle()
    (parked,) = await bench.plain.parking_queue.receive()
    assert reason in json.loads(parked.attributes["fanfold"])["reason"]


async def test_a_stray_that_cannot_be_parked_is_not_acknowledged():
    """It stays in the dead-letter queue."""
    bench = Bench(make_job())
    bench.backend = replace(bench.plain, parking_queue=RefusingQueue())
    dead = bench.plain.work_queue.dead_letter_queue
    await dead.send([Message("stray")])
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 1


async def test_a_late_segment_of_a_finished_run_is_acknowledged_without_running():
    """Its run no longer waits for it; neither does a late dead letter change anything."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    late = [queued.message for queued in bench.plain.work_queue._messages.values()][:2]
    await bench.settle()
    before = await bench.ledger.counter("run")
    await bench.plain.work_queue.send(late[:1])
    await bench.plain.work_queue.dead_letter_queue.send(late[1:])
    await bench.settle()
    assert await bench.ledger.counter("run") == before
    assert len(bench.plain.parking_queue) == 0


async def test_results_too_large_for_a_marker_go_through_the_store():
    """And come back exactly."""

    async def segment(rows, ctx):
        return ["ü" * 3000, ctx.segment.number, 0.1 + 0.2]

    bench = await started(Bench(make_job(segment=segment, fold=list), numbers_jsonl=NUMBERS))
    await bench.settle()
    assert await bench.output() == [["ü" * 3000, number, 0.1 + 0.2] for number in range(29)]
    assert [key for key in bench.store._buckets["results"] if "/results/" in key]


async def test_a_result_that_is_no_json_is_a_permanent_error():
    """It is not retried for ever, and the reason is in the log."""

    async def segment(rows, ctx):
        return {1, 2}

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    await bench.settle()
    assert (await bench.run()).state == "FAILED"


async def test_an_async_fold_iterates_with_async_for():
    """And knows how many results there are."""

    async def fold(results):
        return [len(results), [result async for result in results]]

    async def segment(rows, ctx):
        return ctx.segment.number

    bench = await started(Bench(make_job(segment=segment, fold=fold), numbers_jsonl=NUMBERS))
    await bench.settle()
    assert await bench.output() == [29, list(range(29))]


@pytest.mark.parametrize(("raised_in", "state"), [(1, "SUCCEEDED"), (2, "SUCCEEDED"), (3, "FAILED")])
async def test_a_fold_that_raises_is_tried_three_times_and_then_fails_the_run(raised_in: int, state: str):
    """A run never hangs for a fold that cannot succeed."""
    tries = []

    def fold(results):
        tries.append(1)
        if len(tries) <= raised_in:
            raise ArithmeticError("no sum")
        return "fine"

    bench = await started(Bench(make_job(fold=fold), numbers_jsonl=NUMBERS))
    for _ in range(8):
        await bench.settle(rounds=100)
    run = await bench.run()
    assert (run.state, len(tries)) == (state, 3 if raised_in == 3 else raised_in + 1)
    if state == "FAILED":
        assert await bench.output() == {"fold": "ArithmeticError: no sum"}


async def test_a_fold_that_returns_no_json_fails_the_run_at_once():
    """Trying again would change nothing."""
    bench = await started(Bench(make_job(fold=lambda results: {1}), numbers_jsonl=NUMBERS))
    await bench.settle()
    assert (await bench.run()).state == "FAILED"
    assert "no JSON value" in (await bench.output())["fold"]


async def test_the_lifespan_of_a_job_is_the_state_of_its_segments():
    """As for any consumer."""

    @asynccontextmanager
    async def lifespan():
        yield "the state"

    async def segment(rows, ctx):
        return [ctx.state, ctx.run.id]

    bench = await started(
        Bench(make_job(segment=segment, fold=list, lifespan=lifespan), numbers_jsonl=NUMBERS), chunk_bytes=1000
    )
    await bench.settle()
    assert await bench.output() == [["the state", "run"]]


async def test_a_scatter_that_died_is_resumed_where_it_stopped_and_not_cut_anew():
    """The second try goes on from the checkpoint, with the plan that was pinned."""
    refused = []

    def gate(operation: str) -> None:
        if operation == "before checkpoint" and not refused:
            refused.append(1)
            raise throttled()

    bench = Bench(make_job(), gate=gate, numbers_jsonl=NUMBERS * 20)
    with pytest.raises(ServiceError):
        await bench.job.start(bench.backend, {}, "run")
    bench.store.fill("source", {"numbers.jsonl": NUMBERS * 20 + b"7\n"})
    again = await bench.job.start(bench.backend, {}, "run")
    assert again.segments == 580
    await bench.settle()
    assert (await bench.run()).state == "FAILED"  # the object is not the one that was pinned, and that is said


async def test_starting_the_same_run_twice_is_one_run():
    """Lambda's own second try is the same run."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    await started(bench)
    await bench.settle()
    await started(bench)
    assert await bench.output() == list(range(100))
    assert len(bench.plain.work_queue) == 0


async def test_a_run_that_was_begun_with_other_parameters_is_refused():
    """What is asked for now would not be done, and the end of the other would be told for it."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=50, days=(1, 2))
    await started(bench, chunk_bytes=50, days=(1, 2))
    with pytest.raises(
        FanfoldError, match=r'with params {"chunk_bytes": 50, "days": \[1, 2\]}: give the same, or another name'
    ):
        await bench.job.start(bench.backend, {"chunk_bytes": 60}, "run")
    await bench.settle()
    assert await bench.output() == list(range(100))


async def test_a_run_of_another_job_is_refused():
    """Two jobs never share a run."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    other = make_job()
    other.name = "other"
    with pytest.raises(FanfoldError, match="is one of job 'sum'"):
        await other.start(bench.backend, {}, "run")


async def test_a_queue_that_accepts_nothing_fails_the_scatter():
    """With the reason of the first message."""
    bench = Bench(make_job(), numbers_jsonl=NUMBERS)
    with pytest.raises(EnqueueError, match=r"10 messages were not accepted.*the first is number 0: refused"):
        await bench.job.start(replace(bench.plain, work_queue=RefusingQueue()), {}, "run")


async def test_a_watch_message_finds_a_run_whose_check_was_lost():
    """Every check but the delayed one is dropped; the run ends all the same."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, fold = bench.plain.work_queue, bench.plain.fold_queue
    while await bench.pump(work, bench.job.segment_handler):
        pass
    (check,) = await fold.receive()
    await fold.delete([check.receipt_handle])
    await bench.settle()
    assert await bench.output() == list(range(100))
    assert bench.clock.now >= 900


async def test_a_watch_renews_itself_until_the_run_has_ended():
    """A segment that is missing for long is waited for."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    held = await bench.plain.work_queue.receive(most=1)
    bench.plain.work_queue._messages[held[0].message_id].visible_at = 5000
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"
    assert bench.clock.now >= 5000


async def test_a_fold_whose_lease_is_held_by_another_is_left_alone():
    """Only one invocation folds at a time."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, fold = bench.plain.work_queue, bench.plain.fold_queue
    while await bench.pump(work, bench.job.segment_handler):
        pass
    assert await bench.ledger.claim("run", now=0, lease_seconds=1e12) == 1
    await bench.pump(fold, bench.job.fold_handler)
    assert (await bench.run()).state == "FOLDING"
    assert len(fold) == 2  # the check comes back, beside the delayed one: the other invocation may die


@pytest.mark.parametrize("body", ["{", "[]", "{}", json.dumps({"check": "unknown"}), "[" * 100_000])
async def test_what_is_no_check_of_a_run_comes_back_until_it_is_parked(body: str):
    """The fold queue's own redrive does that."""
    bench = Bench(make_job())
    await bench.plain.fold_queue.send([Message(body)])
    await bench.pump(bench.plain.fold_queue, bench.job.fold_handler)
    assert len(bench.plain.fold_queue) == 1


async def test_a_check_the_queue_refuses_keeps_the_batch():
    """What is in the ledger but not checked is delivered again."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    bench.backend = replace(bench.plain, fold_queue=RefusingQueue())
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
    assert len(bench.plain.work_queue) == 1
    with pytest.raises(FanfoldError, match="did not take the check: refused"):
        await send_check(bench.backend, Check("run"))


async def test_watching_a_run_tells_how_far_it_is_until_it_has_ended():
    """The last word is its end state; a run that takes too long is said to go on."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    with pytest.raises(FanfoldError, match="has not ended in 0 s"):
        _ = [seen async for seen in watch(bench.plain, "run", within_seconds=0.01)]
    watching = asyncio.ensure_future(_last(bench))
    await bench.settle()
    assert (await watching).state == "SUCCEEDED"
    with pytest.raises(FanfoldError, match="'none' is not in the ledger"):
        _ = [seen async for seen in watch(bench.plain, "none", within_seconds=1)]


async def _last(bench: Bench):
    return [seen async for seen in watch(bench.plain, "run", within_seconds=30)][-1]


@pytest.mark.parametrize(
    ("objects", "key", "complaint"),
    [
        ({}, "none.csv", "s3://source/none.csv does not exist"),
        ({"empty_csv": b""}, "empty.csv", "is empty"),
        ({"header_csv": b"a,b\n"}, "header.csv", "a header and no rows"),
        ({"header_csv": b"a,b"}, "header.csv", "a header and no rows"),
        ({"twice_csv": b"a,a\n1,2\n"}, "twice.csv", "the column 'a' twice"),
        ({"blank_csv": b"\n1,2\n"}, "blank.csv", "begins with an empty line"),
        ({"bad_csv": b'"a,b\n1,2\n'}, "bad.csv", "odd number of quotes"),
        ({"bom_jsonl": b"\xef\xbb\xbf"}, "bom.jsonl", "nothing to cut"),
    ],
)
async def test_a_source_with_nothing_to_cut_is_one_clear_error(objects, key: str, complaint: str):
    """Nothing is created and nothing is enqueued."""
    bench = Bench(make_job(), **objects)
    with pytest.raises(SourceError, match=complaint):
        await started(bench, key=key)
    assert await bench.ledger.run("run") is None
    assert len(bench.plain.work_queue) + len(bench.plain.fold_queue) == 0


def test_the_scatter_handler_starts_a_run_named_by_the_request():
    """Called by Lambda with parameters, or with nothing at all."""
    bench = Bench(make_job(), numbers_jsonl=NUMBERS)
    context = make_context(30, aws_request_id="request-1")
    assert (
        bench.job.scatter_handler({"params": {"chunk_bytes": 50}}, context)
        == {"run": "request-1", "segments": 6} | COMPLETE
    )
    assert bench.job.scatter_handler({"run": "mine"}, context) == {"run": "mine", "segments": 29} | COMPLETE
    other = make_context(30, aws_request_id="request-2")
    assert bench.job.scatter_handler(None, other) == {"run": "request-2", "segments": 29} | COMPLETE


async def test_a_scatter_whose_time_is_over_goes_on_in_the_fold_function():
    """As often as it takes; what was sent is not sent again, and the output is whole."""
    clock, calls = ManualClock(), 0

    def gate(operation: str) -> None:
        nonlocal calls
        if operation == "after send":
            calls += 1
            clock.advance(10 if calls <= 3 else 0)

    bench = Bench(make_job(), gate=gate, numbers_jsonl=NUMBERS * 20)
    deadline = Deadline.after(30, clock=clock)
    scattered = await scatter(
        "sum",
        S3Lines("source", "numbers.jsonl", chunk_bytes=10),
        run_id="run",
        params={},
        backend=bench.backend,
        watch_seconds=900,
        deadline=deadline,
    )
    assert not scattered.complete
    assert len(bench.plain.work_queue) == scattered.segments < 580
    assert (await bench.ledger.counter("run")).total is None
    await bench.settle()
    assert (await bench.ledger.counter("run")).total == 580
    assert await bench.output() == list(range(100)) * 20
    assert (await account_of(bench.plain, await bench.run())).duplicates == 0


async def test_a_long_scatter_notes_how_far_it_is_every_thousand_segments():
    """Not with every call: a scatter that dies sends little again, and costs little before."""
    positions: list[int] = []

    def gate(operation: str) -> None:
        if operation == "after checkpoint":
            positions.append(bench.ledger._runs["run"].position)

    job = Job("numbers")
    job.source(lambda params: Ranges(2_500, size=1))
    bench = Bench(job, gate=gate)
    await bench.job.start(bench.backend, {}, "run")
    assert positions == [1_000, 2_000, 2_500]


async def test_a_segment_that_ends_while_a_check_looks_is_looked_at_again_at_once():
    """Its own count may have come before the check said when to look: nobody else would."""
    looked = 0

    def gate(operation: str) -> None:
        nonlocal looked
        if operation == "before raise_next" and not looked:
            looked += 1
            bench.ledger._markers["run"]["late"] = Marker("late", 0, ids=[1], results={1: "[1]"})
            counter = bench.ledger._counters["run"]
            bench.ledger._counters["run"] = replace(counter, ended=counter.ended + 1)

    job = Job("sum")
    job.source(lambda params: Ranges(2, size=1))

    @job.segment
    async def add(rows, ctx):
        return [number async for number in rows]

    job.fold(list)
    bench = Bench(job, gate=gate)
    await bench.job.start(bench.backend, {}, "run")
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, most=1)
    await send_check(bench.plain, Check("run"))
    while await bench.pump(bench.plain.fold_queue, bench.job.fold_handler):
        pass
    assert looked
    assert await bench.output() == [[0], [1]]


async def test_markers_that_do_not_hold_all_are_never_folded():
    """Were some lost after a check had seen them, the fold fails instead of leaving segments out."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    pins = "runs/run/0/markers.json"
    await bench.plain.put_result(pins, b"[]")
    while await bench.pump(bench.plain.work_queue, bench.job.segment_handler):
        pass
    await bench.pump(bench.plain.fold_queue, bench.job.fold_handler)
    assert not (await bench.run()).ended


async def test_a_scatter_that_died_is_gone_on_with_by_the_second_look_that_finds_it_where_the_first_did():
    """The first look cannot know whether it is alive; nobody has to start the run again."""
    sends = 0

    def gate(operation: str) -> None:
        nonlocal sends
        sends += operation == "before send"
        if operation == "before send" and sends == 3:
            raise RuntimeError("killed")

    bench = Bench(make_job(), gate=gate, numbers_jsonl=NUMBERS)
    with pytest.raises(BaseExceptionGroup):
        await bench.job.start(bench.backend, {"chunk_bytes": 10}, "run")
    assert (await bench.ledger.counter("run")).total is None
    began = bench.clock()
    await bench.settle()
    assert await bench.output() == list(range(100))
    assert bench.clock() - began >= 2 * 900


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ([], "a run is started with"),
        ({"params": 5}, "a run is started with"),
        ({"parms": {}}, "'parms' is not known"),
        ({"run": "../../etc"}, "run '../../etc': use 1 to 128"),
        ({"run": 5}, "run 5: use 1 to 128"),
    ],
)
def test_a_malformed_request_for_a_run_is_refused(event, complaint: str):
    """Before anything is read or written."""
    bench = Bench(make_job())
    with pytest.raises(ConfigurationError, match=complaint):
        bench.job.scatter_handler(event, make_context())


def test_a_job_without_a_part_says_which():
    """When the handler is asked for, at deployment."""
    for name in ("scatter", "segment", "fold"):
        with pytest.raises(ConfigurationError, match="decorate one with @job"):
            getattr(Job("empty"), f"{name}_handler")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Job(""),
        lambda: Job("a/b"),
        lambda: Job("job", concurrency=0),
        lambda: Job("job", watch_seconds=0),
        lambda: Job("job", watch_seconds=901),
        lambda: Job("job").source(5),
        lambda: Job("job", watch_seconds=True),
        lambda: Job("job", backend=inmemory.backend()),
        lambda: Job("job").with_changes(backend=inmemory.backend()),
        lambda: Job("job").segment(lambda rows, ctx: 1),
    ],
)
def test_impossible_jobs_are_refused(make):
    """With one clear line each."""
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (lambda params: Items, "which is no source"),
        (lambda params: params["bucket"], r"failed for params \{'key': 1\}: KeyError\('bucket'\)"),
        (lambda params: [1, 2], r"returned \[1, 2\], which is no source"),
    ],
)
async def test_a_source_function_that_cannot_make_a_source_is_named_with_its_params(source, complaint: str):
    """The mistake is the caller's or the job's: one line says which job and which parameters."""
    job = make_job()
    job.source(source)
    bench = Bench(job)
    with pytest.raises(ConfigurationError, match=complaint):
        await bench.job.start(bench.backend, {"key": 1}, "run")


def test_in_lambda_the_sdk_is_imported_while_the_sandbox_initialises(monkeypatch: pytest.MonkeyPatch):
    """Then the first batch does not pay for it."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "segment")
    job = make_job()
    assert repr(job) == "<fanfold.Job sum>"
    assert job.segment_handler.__name__ == "segment_handler"
    assert job.dead_letter_handler is job.dead_letter_handler


@pytest.fixture
def told(monkeypatch) -> None:
    """The functions know how often the work queue delivers a message, as the template has it."""
    monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", "3")
    monkeypatch.setenv("FANFOLD_DEAD_LETTER_QUEUE_URL", "dead")


async def test_a_segment_that_fails_to_its_last_delivery_tells_why(told):
    """Its handler's own words are in the failures of the run."""

    async def segment(rows, ctx):
        raise ValueError(f"delivery {ctx.receive_count}")

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    await bench.settle()
    assert (await bench.run()).state == "FAILED"
    assert await bench.output() == {"segments": {"0": "ValueError: delivery 3"}}
    kept = json.loads(await bench.plain.get_result("runs/run/0/failed/0.json"))
    assert (kept["segment"], kept["reason"]) == (0, "ValueError: delivery 3")
    assert Segment.from_body(kept["body"]).number == 0


async def test_a_segment_that_was_never_started_is_sent_once_more(told):
    """A dead letter without a word tells that its last delivery had none: it ends as if nothing had been."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS))
    work, dead = bench.plain.work_queue, bench.plain.work_queue.dead_letter_queue
    unheard = [queued.message for queued in work._messages.values()][:2]
    work._messages.clear()
    await dead.send(unheard)
    names = list(dead._messages)
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 0
    back = [queued.message for queued in work._messages.values()]
    assert [message.body for message in back] == [message.body for message in unheard]
    # A FIFO queue has just seen these bodies: only under names of their own are they messages to it.
    assert [message.deduplication_id for message in back] == [f"{name}-{at}-back" for at, name in enumerate(names)]


async def test_segments_that_shared_a_message_are_sent_back_alone(told):
    """One that kills its process each time fails by itself, and no other."""

    async def segment(rows, ctx):
        if ctx.segment.number == 1:
            raise SystemExit(1)
        return [number async for number in rows]

    job = make_job(segment=segment, segments_per_message=3, tolerated_failures=1)
    bench = await started(Bench(job, numbers_jsonl=NUMBERS), chunk_bytes=100)
    await bench.settle()
    run = await bench.run()
    account = await account_of(bench.backend, run)
    assert (run.state, account.segments, account.done, list(account.failed)) == ("SUCCEEDED", 3, 2, [1])
    output = await bench.output()
    assert (output[0], output[-1]) == (0, 99)


async def test_a_look_that_fails_for_a_reason_of_its_own_does_not_fold_what_has_not_ended():
    """However often it is delivered: else the segments that still run would come too late."""
    broken = True

    def gate(operation: str) -> None:
        if broken and operation == "before markers":
            raise RuntimeError("the session is closed")

    bench = await started(Bench(make_job(), gate=gate, max_receive_count=5, numbers_jsonl=NUMBERS))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, most=1)
    await send_check(bench.plain, Check("run"))
    assert await bench.looks(4) == {"RUNNING"}
    broken = False
    await bench.settle()
    assert await bench.output() == list(range(100))


@pytest.mark.parametrize("value", [float("nan"), {"mean": float("inf")}])
async def test_a_number_that_json_does_not_have_fails_its_segment_or_fold(told, value):
    """A reader of the output could not parse it."""

    async def segment(rows, ctx):
        return value

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    await bench.settle()
    assert "the segment handler returned what is no JSON value" in (await bench.output())["segments"]["0"]
    bench = await started(Bench(make_job(fold=lambda results: value), numbers_jsonl=NUMBERS))
    await bench.settle()
    assert "no JSON value" in (await bench.output())["fold"]


async def test_what_was_sent_once_more_and_comes_back_without_a_word_has_failed(told):
    """It is not sent round for ever."""

    async def segment(rows, ctx):
        raise asyncio.CancelledError  # as if its time had been over each time

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    await bench.settle()
    assert await bench.output() == {"segments": {"0": UNTOLD}}


async def test_a_function_that_is_not_told_the_receive_limit_sends_nothing_back():
    """It cannot know whether a reason would have been there."""

    async def segment(rows, ctx):
        raise ValueError

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    await bench.settle()
    assert await bench.output() == {"segments": {"0": UNTOLD}}


async def test_a_segment_that_cannot_be_sent_back_stays_a_dead_letter(told):
    """Until the work queue takes it."""
    bench = await started(Bench(make_job(), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    dead = bench.plain.work_queue.dead_letter_queue
    (queued,) = bench.plain.work_queue._messages.values()
    bench.backend = replace(bench.plain, work_queue=RefusingQueue())
    await dead.send([queued.message])
    await bench.pump(dead, bench.job.dead_letter_handler)
    assert len(dead) == 1


async def test_a_segment_that_asks_for_another_delivery_at_its_last_is_sent_once_more(told):
    """It did not fail."""
    deliveries: list[int] = []

    async def segment(rows, ctx):
        deliveries.append(ctx.receive_count)
        if len(deliveries) < 5:
            raise Retry(after=1)
        return [number async for number in rows]

    bench = await started(Bench(make_job(segment=segment), numbers_jsonl=NUMBERS), chunk_bytes=1000)
    await bench.settle()
    assert deliveries == [1, 2, 3, 1, 2]
    assert await bench.output() == list(range(100))


async def test_a_message_of_several_that_all_fail_at_its_last_delivery_is_taken_apart(told):
    """Each has deliveries of its own, and its own reason."""

    async def segment(rows, ctx):
        raise ValueError(f"segment {ctx.segment.number}")

    bench = await started(
        Bench(make_job(segment=segment, segments_per_message=2), numbers_jsonl=NUMBERS), chunk_bytes=150
    )
    await bench.settle()
    assert await bench.output() == {"segments": {"0": "ValueError: segment 0", "1": "ValueError: segment 1"}}
