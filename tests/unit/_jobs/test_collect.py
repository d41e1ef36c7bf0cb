"""A fold reads the markers of a run once and pins those that count."""

from dataclasses import replace
from typing import Any

from failing import Scripted
from fanfold import Job, Ranges, inmemory
from fanfold._jobs.collect import collect
from fanfold._jobs.results import opened
from fanfold._ports.run import Marker, Run
from fanfold.aws.dynamodb import DynamoDBLedger
from fanfold.aws.ledger_items import marker_item
from harness import Bench, started
from joining import joining
from numbers_job import all_of

RUN = Run("run", "job", {}, {}, created_at=0.0, expires_at=1)


class Pages:
    """A DynamoDB client that serves the markers of a ledger from memory, three per page, and counts pages."""

    def __init__(self, markers: dict[str, Marker]) -> None:
        self._partitions: dict[str, list[Any]] = {}
        self.pages = 0
        self.markers = 0
        for number, marker in enumerate(markers.values()):
            item = {"sk": {"S": f"MARK#{marker.gen}#{marker.id}"}, **marker_item(marker)}
            self._partitions.setdefault(f"RUN#run#{number % 16}", []).append(item)

    @property
    def expected(self) -> int:
        return sum(-(-len(items) // 3) for items in self._partitions.values())

    async def query(self, *, ExpressionAttributeValues: Any, ExclusiveStartKey: int = 0, **_: Any) -> Any:  # noqa: N803
        self.pages += 1
        items = self._partitions[ExpressionAttributeValues[":pk"]["S"]]
        page = items[ExclusiveStartKey : ExclusiveStartKey + 3]
        self.markers += len(page)
        following = ExclusiveStartKey + 3
        return {"Items": page} | ({"LastEvaluatedKey": following} if following < len(items) else {})


async def worked_on(job: Job, gate: Any = None) -> Bench:
    """Return a run whose segments have all ended; its checks wait in the fold queue."""
    bench = await started(Bench(job, gate=gate))
    await bench.work()
    return bench


def numbers(segments: int) -> Job:
    job = Job("numbers")
    job.source(lambda params: Ranges(segments, size=1))
    job.segment(all_of)
    job.fold(lambda results: sum(number for result in results for number in result))
    return job


async def test_a_fold_of_two_thousand_segments_reads_the_markers_once():
    """Checking, pinning, counting, and collecting the results share one pass; on AWS, one pass over each page."""
    calls: list[str] = []
    bench = await worked_on(numbers(2_000), calls.append)
    pages = Pages(bench.ledger._markers["run"])
    dynamodb = DynamoDBLedger(pages, "ledger")
    scripted = bench.backend.ledger
    scripted._port = Overriding(bench.ledger, markers=dynamodb.markers)
    await bench.fold()
    assert await bench.output() == sum(range(2_000))
    assert calls.count("before markers") == 1
    assert (pages.pages, pages.markers) == (pages.expected, 200)


class Overriding:
    """A port with some operations replaced by those of another port."""

    def __init__(self, port: Any, **operations: Any) -> None:
        self._port = port
        self._operations = operations

    def __getattr__(self, name: str) -> Any:
        return self._operations.get(name) or getattr(self._port, name)


async def test_combining_reads_the_markers_once_to_store_the_results_and_once_for_each_level():
    """The markers are not read for each group: most invocations combine a group and end."""
    calls: list[str] = []
    bench = await worked_on(joining(64, 4), calls.append)
    await bench.fold()
    assert await bench.output() == list(range(64))
    assert calls.count("before markers") == 1 + 2


async def ledger_with(*markers: Marker) -> Any:
    backend = inmemory.backend()
    for marker in markers:
        await backend.ledger.put_marker("run", marker)
    return backend


async def test_a_repeated_fold_sees_the_markers_that_the_first_one_pinned():
    """Even if a marker was added since whose id sorts first: the pinned markers are read again, once."""
    plain = await ledger_with(Marker("m", 0, ids=[0], results={0: "1"}), Marker("n", 0, ids=[1], results={1: "2"}))
    calls: list[str] = []
    backend = replace(plain, ledger=Scripted(plain.ledger, calls.append))
    with opened() as rows:
        first = await collect(RUN, 2, backend, rows)
        await first.pin()
        await first.pin()
        assert calls == ["before markers"]
        await plain.ledger.put_marker("run", Marker("a", 0, ids=[0], results={0: "7"}, receive_counts={0: 5}))
        second = await collect(RUN, 2, backend, rows)
        assert second.tally.duplicates == 1
        await second.pin()
        assert second.tally.duplicates == 0
        assert list(await second.results()) == [1, 2]
        assert calls == ["before markers"] * 3


async def test_if_two_markers_hold_a_segment_the_same_one_always_wins():
    """Regardless of whether its results are in the marker or in a separate object, and in every call."""
    key = "runs/run/0/results/a.json"
    plain = await ledger_with(Marker("m", 0, ids=[0], results={0: "1"}), Marker("a", 0, ids=[0, 1], results_key=key))
    await plain.put_result(key, b'{"0":[10],"1":null,"9":0}')
    with opened() as rows:
        collected = await collect(RUN, 2, plain, rows)
        assert list(await collected.results()) == [[10], None]
        assert list(await collected.results()) == [[10], None]


async def test_pinned_markers_that_lack_a_segment_are_never_folded():
    """All segments had ended when the markers were pinned; those whose marker was lost since count as failed."""
    plain = await ledger_with(Marker("m", 0, ids=[0], results={0: "1"}))
    await plain.put_result("runs/run/0/markers.json", b"[]")
    with opened() as rows:
        collected = await collect(RUN, 1, plain, rows)
        await collected.pin()
        assert list(await collected.results()) == []
        assert collected.tally.failed == {0: "its end is not in the pinned markers."}
