"""Lambda's REPORT lines, in the format of Lambda's documentation, and the samples made from them."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from fanfold.aws.report import Report, report_of
from fanfold.bench.batches import batches_of, synthetic_records
from fanfold.bench.cells import Setting
from fanfold.bench.deployed import DeployedMeasurer

LINE = (
    "REPORT RequestId: 8f507cfc-0000\tDuration: {ms} ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\t"
    "Max Memory Used: {peak} MB\t{init}\n{more}"
)


def reported(
    payload: object, ms: float = 500.0, *, peak: int = 80, init: str = "", more: str = "", error: str | None = None
) -> Report:
    log = f"START RequestId: x\n{LINE.format(ms=ms, peak=peak, init=init, more=more)}"
    response = {"LogResult": base64.b64encode(log.encode()).decode(), **({"FunctionError": error} if error else {})}
    return report_of(json.dumps(payload), response, 9.0)


def test_a_report_is_read():
    """Duration, maximum memory, and the init duration of a cold start."""
    report = reported(None, 12.5, peak=77, init="Init Duration: 250.00 ms")
    assert (report.seconds, report.peak_memory_mb, report.init_seconds, report.reported) == (0.0125, 77.0, 0.25, True)
    assert report.error is None


def test_without_a_report_the_local_clock_is_used():
    """``reported`` is False then."""
    report = report_of("null", {"LogResult": ""}, 0.3)
    assert (report.seconds, report.peak_memory_mb, report.init_seconds, report.reported) == (0.3, None, None, False)


def test_out_of_memory_and_timeouts_are_distinguished():
    """By Lambda's error types and messages."""
    killed = {
        "errorType": "Runtime.ExitError",
        "errorMessage": "RequestId: x Error: Runtime exited with error: signal: killed",
    }
    late = {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: x Error: Task timed out after 3.00 seconds",
    }
    assert reported(killed, error="Unhandled").out_of_memory
    assert reported({}, error="Unhandled", more="Status: error\tError Type: Runtime.OutOfMemory").out_of_memory
    assert reported(late, error="Unhandled").timed_out
    assert not reported(late, error="Unhandled").out_of_memory
    assert not reported(killed).out_of_memory


def measurer(*reports: Report) -> tuple[DeployedMeasurer, list[Setting]]:
    queue, settings = list(reports), list[Setting]()

    def invoke(event: Mapping[str, Any]) -> Report:
        return queue.pop(0) if len(queue) > 1 else queue[0]

    batches = batches_of([synthetic_records(150, 64)], None)
    return DeployedMeasurer(settings.append, invoke, batches, seconds=1.0), settings


def test_a_sample_consists_of_lambdas_reports():
    """Apply the setting, invoke with one record, warm up, then invoke with batches for the requested time."""
    failed = {"batchItemFailures": [{"itemIdentifier": "message-3"}]}
    cold = reported(None, 100.0, init="Init Duration: 250.00 ms")
    measure, settings = measurer(cold, reported(None), reported(failed, 600.0, peak=90), reported(None, 500.0))
    taken = measure(Setting(10, 512), 2)
    assert settings == [Setting(10, 512)]
    assert (taken.records, taken.failed, taken.batch_seconds) == (300, 1, (0.6, 0.5))
    assert (taken.repeat, taken.peak_memory_mb, taken.cold_start_seconds) == (2, 90.0, 0.35)
    assert not measure.unreported


def test_a_setting_that_runs_out_of_memory_ends_its_sample():
    """During the warm-up, or later."""
    killed = reported({"errorType": "Runtime.OutOfMemory", "errorMessage": "killed"}, error="Unhandled")
    for reports in ((killed,), (reported(None), reported(None), killed)):
        measure, _ = measurer(*reports)
        taken = measure(Setting(10, 512), 0)
        assert (taken.end, taken.reason) == ("out of memory", "Runtime.OutOfMemory: killed")


def test_timeouts_and_errors_end_a_sample_with_a_reason():
    """If the response is not JSON, the response is the reason."""
    late = reported(
        {"errorMessage": "Task timed out after 3.00 seconds", "errorType": "Sandbox.Timedout"},
        error="Unhandled",
    )
    odd = Report("oops", "oops", 1.0, reported=False, peak_memory_mb=None, init_seconds=None, waited_seconds=1.0)
    assert measurer(late)[0](Setting(1, 128), 0).end == "timed out"
    measure, _ = measurer(odd)
    assert (measure(Setting(1, 128), 0).end, measure(Setting(1, 128), 0).reason) == ("failed", "oops")
    assert measure.unreported
