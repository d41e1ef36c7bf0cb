"""The notification of the end of a run: its summary, its most frequent errors, and the next command."""

import json
from dataclasses import replace
from typing import Any

import pytest

from failing import RecordingNotifier, Scripted
from fanfold import Job, Ranges
from fanfold._jobs.cancel import cancel, cancellable
from fanfold._jobs.notify import notify_run_ended
from fanfold.errors import LedgerError
from harness import Bench, ended, started


def job_of(*, broken: int = 0, segments: int = 20) -> Job:
    job = Job("orders")
    job.source(lambda params: Ranges(segments, size=1))

    @job.segment
    async def segment(rows: Any, ctx: Any) -> int:
        if ctx.segment.number < broken:
            raise KeyError("carrier") if ctx.segment.number else ValueError("other")
        return ctx.segment.number

    job.fold(list)
    return job


async def notification_of(bench: Bench) -> dict[str, Any]:
    (_, text) = bench.plain.notifier.published[-1]
    document: dict[str, Any] = json.loads(text)
    return document


async def test_a_failed_run_is_summarized_with_its_errors_and_the_command_that_redrives_it():
    """The most frequent errors first, with an example."""
    bench = await ended(Bench(job_of(broken=5), max_receive_count=2, notifier=RecordingNotifier()))
    document = await notification_of(bench)
    assert document["commands"] == {"status": "fanfold status run", "redrive": "fanfold redrive run"}
    summary = document["summary"]
    assert (summary["total"], summary["done"], summary["failed"], summary["missing"]) == (20, 15, 5, 0)
    assert [(error["error"], error["segments"], error["first_segment"]) for error in summary["errors"]] == [
        ("KeyError: 'carrier'", 4, 1),
        ("ValueError: other", 1, 0),
    ]


async def test_a_run_that_succeeded_has_a_summary_without_errors_and_nothing_to_redrive():
    """Each segment was delivered once."""
    document = await notification_of(await ended(Bench(job_of(), notifier=RecordingNotifier())))
    assert document["commands"] == {"status": "fanfold status run"}
    summary = document["summary"]
    assert (summary["done"], summary["deliveries"], summary["retries"], summary["errors"]) == (20, 20, 0, [])


async def test_a_cancelled_run_states_how_many_segments_have_not_ended():
    """And the command that continues it."""
    bench = await started(Bench(job_of(), notifier=RecordingNotifier()))
    await bench.pump(bench.plain.work_queue, bench.job.segment_handler, 3)
    await cancel(await cancellable("run", bench.plain), bench.plain)
    await bench.settle()
    document = await notification_of(bench)
    assert (document["state"], document["output"], document["summary"]["missing"]) == ("CANCELLED", None, 17)
    assert document["commands"]["redrive"] == "fanfold redrive run"


async def test_a_ledger_that_cannot_be_read_costs_the_summary_and_not_the_notification():
    """The rest of it is sent."""
    bench = await started(Bench(job_of(), notifier=RecordingNotifier()))
    await cancel(await cancellable("run", bench.plain), bench.plain)

    def damaged(operation: str) -> None:
        if operation == "before counter":
            raise LedgerError("damaged")

    await notify_run_ended("run", replace(bench.plain, ledger=Scripted(bench.ledger, damaged)))
    assert (await notification_of(bench))["summary"] is None


async def test_a_notification_that_another_check_has_sent_meanwhile_is_not_sent_again():
    """Building the summary takes time; a redrive in between makes it obsolete."""
    for meanwhile in ("notified", "redrive"):
        bench = await started(Bench(job_of(), notifier=RecordingNotifier()))
        await cancel(await cancellable("run", bench.plain), bench.plain)
        acts = {
            "notified": lambda: bench.ledger.notified("run", gen=0),  # noqa: B023 - called within the loop
            "redrive": lambda: bench.ledger.redrive("run", gen=1, redos=["x"], redo=0),  # noqa: B023 - as above
        }

        class Busy(Scripted):
            def __getattr__(self, name: str) -> Any:
                if name != "counter":
                    return super().__getattr__(name)

                async def counter(run_id: str) -> Any:
                    await acts[meanwhile]()  # noqa: B023 - as above
                    return await self._port.counter(run_id)

                return counter

        await notify_run_ended("run", replace(bench.plain, ledger=Busy(bench.ledger, len)))
        assert bench.plain.notifier.published == []


@pytest.mark.parametrize(
    ("content", "listed"),
    [(b'{"segments": {"0": "a \\ud83d"}}', {"0": "a \ud83d"}), (b"[", {}), (b"7", {}), (b'{"segments": 7}', {})],
    ids=["half of a surrogate pair", "not JSON", "a number", "a number as segments"],
)
async def test_an_odd_or_damaged_list_of_failures_is_notified(content: bytes, listed: dict[str, str]):
    """SNS takes UTF-8, which has no half of a surrogate pair; the summary counts the failures of the ledger."""
    notifier = RecordingNotifier()
    bench = await ended(Bench(job_of(broken=2), max_receive_count=2))
    await bench.plain.put_result("runs/run/0/failures.json", content)
    await notify_run_ended("run", replace(bench.plain, notifier=notifier))
    document = json.loads(notifier.published[-1][1].encode())
    assert (document["failures"], document["summary"]["failed"]) == (listed, 2)
