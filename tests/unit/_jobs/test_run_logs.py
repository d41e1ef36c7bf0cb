"""The log lines of a run and of its segments are found among those of everything else."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

from fanfold import inmemory
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._jobs.run_logs import MAX_INVOCATIONS, failed_segments, latest, lines_of
from fanfold._ports.logs import LogLine
from fanfold._ports.run import Attempt, FailedBatch, Marker
from ledgers import RUN

BEGAN = RUN.created_at + 10


class Logs:
    """Log groups in memory."""

    def __init__(self, *lines: tuple[float, str, str]) -> None:
        self.lines = [LogLine(BEGAN + at, text, "group", stream, str(n)) for n, (at, stream, text) in enumerate(lines)]

    async def search(
        self, begin: float, end: float, *, text: str | None = None, stream: str | None = None
    ) -> AsyncIterator[LogLine]:
        for line in self.lines:
            is_there = begin <= line.at <= end and stream in {None, line.stream}
            if is_there and text in {None, *line.text.split(), *line.text.split('"')}:
                yield line


def attempt(segment: int, request_id: str | None, *, at: float = 0.0) -> Attempt:
    return Attempt(segment, 0, 0, 1, BEGAN + at, 1.0, "KeyError", "'carrier'", request_id=request_id, log_stream="s")


async def details_of(*attempts: Attempt, marker: Marker | None = None) -> RunDetails:
    backend = inmemory.backend()
    await backend.ledger.open_run(RUN)
    await backend.ledger.seal(RUN.id, 9)
    if attempts:
        await backend.ledger.put_attempts(RUN.id, FailedBatch("b", 0, attempts))
    if marker is not None:
        await backend.ledger.put_marker(RUN.id, marker)
    return replace(await read_details(RUN, backend), now=BEGAN + 100)


async def texts(details: RunDetails, segments: set[int] | None, logs: Logs, most: int = 100) -> list[str]:
    lines, _ = await lines_of(details, segments, logs, most=most)
    return [line.text for line in lines]


def structured(**fields: object) -> str:
    return json.dumps({"message": "hello", **fields}, separators=(",", ":"))


MINE, OTHER, NEXT = (structured(run=run, segment=number) for run, number in [("run-1", 3), ("run-2", 3), ("run-1", 4)])
LOGS = Logs(
    (0, "s1", "START RequestId: r1 Version: $LATEST"),
    (1, "s1", "a line without ids"),
    (2, "s1", MINE),
    (2, "s1", OTHER),
    (3, "s1", NEXT),
    (4, "s1", "ERROR run run-1 , segment 4 failed"),
    (5, "s1", "REPORT RequestId: r1 Duration: 5 ms"),
    (6, "s1", "START RequestId: r2 Version: $LATEST"),
    (7, "s1", "a later line"),
)


async def test_the_lines_of_a_failed_segment_are_those_of_its_invocation_that_name_no_other_one():
    """Structured lines and texts; lines of other invocations in the same stream are left out."""
    details = await details_of(attempt(3, "r1"))
    assert failed_segments(details) == {3}
    assert await texts(details, {3}, LOGS) == [LOGS.lines[index].text for index in (0, 1, 2, 6)]


async def test_the_lines_of_a_run_are_those_that_name_it_and_those_of_failed_invocations():
    """By time, each once, without those of another run."""
    details = await details_of(attempt(3, "r1"))
    assert await texts(details, None, LOGS) == [LOGS.lines[index].text for index in (0, 1, 2, 4, 5, 6)]
    assert await texts(await details_of(), None, LOGS) == [MINE, NEXT, "ERROR run run-1 , segment 4 failed"]


async def test_without_an_attempt_the_lines_that_name_a_segment_are_found():
    """Also those of fanfold itself; nothing is found for a segment that no line names."""
    details = await details_of(attempt(3, None))
    assert await texts(details, {4}, LOGS) == [NEXT, "ERROR run run-1 , segment 4 failed"]
    assert await texts(details, {5}, LOGS) == []


async def test_the_lines_of_a_segment_that_succeeded_are_those_of_its_environment_at_that_time():
    """If the ledger knows when and where its handler ran."""
    marker = Marker("m", 0, ids=[5], items=[1], began_at=[BEGAN + 0.5], seconds=[1.0], environment="s1")
    details = await details_of(marker=marker)
    assert await texts(details, {5}, LOGS) == ["a line without ids"]
    assert await texts(details, {6}, LOGS) == []
    assert await texts(await details_of(marker=replace(marker, environment=None)), {5}, LOGS) == []


async def test_invocations_are_recognized_in_the_json_format_too_and_concurrent_ones_are_left_out():
    """As on Managed Instances, where invocations share an environment."""
    start, report = (
        json.dumps({"type": f"platform.{kind}", "record": {"requestId": "r1"}}) for kind in ("start", "report")
    )
    other = json.dumps({"type": "platform.start", "record": {"requestId": "r9"}})
    odd = [json.dumps({"type": "platform.start", "record": []}), "{torn", "{}" * 3, "[1]"]
    logs = Logs(*((number, "s", text) for number, text in enumerate([start, *odd, "mine", other, "not mine", report])))
    assert await texts(await details_of(attempt(3, "r1")), {3}, logs) == [start, *odd, "mine", report]


async def test_an_invocation_without_a_start_line_has_no_lines():
    """They have expired, or have not arrived yet; the log of the invocation may also end without a report."""
    logs = Logs((0, "s", "ERROR r1 failed"))
    assert await texts(await details_of(attempt(3, "r1")), {3}, logs) == []
    logs = Logs((0, "s", "START RequestId: r1 "), (1, "s", "killed"))
    assert await texts(await details_of(attempt(3, "r1")), {3}, logs) == ["START RequestId: r1 ", "killed"]


async def test_the_number_of_lines_is_bounded():
    """The result states that there are more."""
    lines, has_more = await lines_of(await details_of(attempt(3, "r1")), None, LOGS, most=2)
    assert (len(lines), has_more) == (2, True)
    assert (await lines_of(await details_of(), {5}, LOGS, most=2)) == ([], False)


def test_only_the_latest_invocations_are_read_each_once():
    """An invocation may have many failed attempts; one without a request id cannot be read."""
    attempts = [attempt(number, f"r{number // 2}", at=-number) for number in range(200)]
    chosen = latest([*attempts, attempt(1, None)])
    assert [one.request_id for one in chosen] == [f"r{number}" for number in reversed(range(MAX_INVOCATIONS))]
