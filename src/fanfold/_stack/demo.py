"""Run the flights example on the local AWS with real input, and check its output.

The demo uploads 27,004 flights of January 2013 (public domain, CC0) and deploys the project's template. The object is
scattered, consumed by the event source mapping with injected faults, and folded. The expected output is computed
separately, by reading the file once in this process.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3

from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._jobs.report import Progress, RunReport, read_report, watch
from fanfold._jobs.segment import Segment
from fanfold._ports.backend import Backend
from fanfold._ports.queue import Message
from fanfold._ports.run import Run
from fanfold._report.page import page
from fanfold._report.read_page import read_page
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack, local_stack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of
from fanfold.errors import ConfigurationError, FanfoldError
from fanfold.sources import cut

STRAY_BODY: Final = '{"note": "not a segment: this message was sent to the wrong queue"}'
"""The only message on the work queue that is not a segment."""
DUPLICATED_SEGMENT: Final = 5
"""The segment that is sent twice."""

# The timeout allows for the slow start of an execution environment on a busy machine.
_PARAMETERS: Final = {"HandlerModule": "faulty_app", "FunctionTimeout": "15"}
_CODE_BUCKET: Final = "fanfold-demo-code"
_INPUT_KEY: Final = "input/flights-2013-01.csv"
_WITHIN_SECONDS: Final = 120.0

Output = dict[str, dict[str, Any]]


@dataclass(slots=True)
class DemoReport:
    """The result of the demo."""

    run: str
    """Name of the run."""
    state: str
    """Its end state."""
    output: Output
    """The committed output of the fold, by carrier."""
    expected: Output
    """The expected output, computed directly from the file."""
    report: RunReport
    """The outcome of every segment."""
    quarantined: list[dict[str, str]]
    """Messages in the quarantine queue, with their reasons."""
    page: str
    """The page of the run, as HTML."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each step in seconds."""

    @property
    def problems(self) -> list[str]:
        """Failed checks, one line each; empty if the demo succeeded."""
        problems = []
        if self.state != "SUCCEEDED":
            problems.append(f"the run ended as {self.state}: {dict(self.report.failed)}")
        if self.output != self.expected:
            problems.append("the committed output differs from the output computed directly from the file")
        if [message["body"] for message in self.quarantined] != [STRAY_BODY] or not self.quarantined[0]["reason"]:
            problems.append("the stray message is not in the quarantine queue with its reason")
        return problems

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON document, without the page."""
        document = asdict(self)
        del document["page"]
        return {**document, "agrees": self.output == self.expected, "problems": self.problems}


def flights_file() -> Path:
    """Return the compressed input that comes with the example."""
    file = project_folder() / "examples" / "flights" / "flights-2013-01.csv.gz"
    if not file.is_file():
        raise ConfigurationError(f"the demo's input is missing: {file}")
    return file


def expected_output(data: bytes) -> Output:
    """Return the expected output of the job, computed directly from the CSV text."""
    flights: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(data.decode())):
        flights.setdefault(row["carrier"], []).append(row)
    return {carrier: _summary(flights[carrier]) for carrier in sorted(flights)}


def _summary(rows: list[dict[str, str]]) -> dict[str, Any]:
    departures = [int(row["dep_delay"]) for row in rows if row["dep_delay"] != "NA"]
    arrivals = [int(row["arr_delay"]) for row in rows if row["arr_delay"] != "NA"]
    return {
        "flights": len(rows),
        "mean_dep_delay": sum(departures) / len(departures) if departures else None,
        "mean_arr_delay": sum(arrivals) / len(arrivals) if arrivals else None,
        "cancelled_share": sum(row["dep_time"] == "NA" for row in rows) / len(rows),
    }


class _Steps:
    """Measures the steps and reports when each one begins."""

    def __init__(self, on_step: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._on_step = on_step

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._on_step(name)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


async def run_demo(
    *,
    segments: int,
    port: int | None,
    on_step: Callable[[str], None],
    progress: Callable[[Progress], None],
    keep_log: Path | None = None,
) -> DemoReport:
    """Run the demo on a separate local AWS, which is always stopped at the end.

    Args:
        segments: Number of segments to cut, at least 16.
        port: Port of the local AWS; None for a free port.
        on_step: Called with the name of each step when it begins.
        progress: Called repeatedly with the progress of the run.
        keep_log: File for the log of the local AWS; None to discard it.

    Raises:
        FanfoldError: If a step fails; no process is left running.
    """
    steps = _Steps(on_step)
    data = gzip.decompress(flights_file().read_bytes())
    with ExitStack() as exit_stack:
        with steps.step("start the local AWS"):
            stack = exit_stack.enter_context(local_stack(port=port, keep_log=keep_log))
        return await _on_stack(stack, steps, data, segments, progress)


async def _on_stack(
    stack: LocalStack, steps: _Steps, data: bytes, segments: int, progress: Callable[[Progress], None]
) -> DemoReport:
    clients = _clients(stack)
    with steps.step("deploy template.yaml"):
        clients["s3"].create_bucket(Bucket=_CODE_BUCKET)
        template = project_folder() / "template.yaml"
        outputs = deploy(clients, template, name="demo", parameters=_PARAMETERS, code_bucket=_CODE_BUCKET)
    with steps.step("upload the flights"):
        clients["s3"].put_object(Bucket=outputs["ResultsBucket"], Key=_INPUT_KEY, Body=data)
    async with connect(variables_of(outputs), **stack.client_settings) as backend:
        with steps.step("scatter"):
            params = {
                "bucket": outputs["ResultsBucket"],
                "key": _INPUT_KEY,
                "chunk_bytes": math.ceil(len(data) / segments),
            }
            run_id = _scatter(clients["lambda"], outputs["ScatterFunction"], params)
            await _inject(backend, run_id)
        with steps.step("consume and fold"):
            async for seen in watch(backend, run_id, within_seconds=_WITHIN_SECONDS):
                progress(seen)
        with steps.step("wait for the stray message to be quarantined"):
            quarantined = await _quarantined(backend)
        with steps.step("compute the expected output directly from the file"):
            expected = expected_output(data)
        return await _report(backend, run_id, expected, quarantined, steps)


async def _report(
    backend: Backend, run_id: str, expected: Output, quarantined: list[dict[str, str]], steps: _Steps
) -> DemoReport:
    run: Run | None = await backend.ledger.run(run_id)
    if run is None or run.output is None:
        raise FanfoldError(f"run {run_id} has no output")
    output = json.loads(await backend.get_result(run.output))
    run_report = await read_report(backend, run)
    with steps.step("draw the run"):
        drawn = page(await read_page(run_id, backend))
    return DemoReport(run_id, run.state, output, expected, run_report, quarantined, drawn, steps.seconds)


def _clients(stack: LocalStack) -> dict[str, Any]:
    session = boto3.session.Session()
    return {name: session.client(name, **stack.client_settings) for name in ("s3", "cloudformation", "lambda")}


def _scatter(client: Any, function: str, params: Mapping[str, Any]) -> str:
    request = {"params": params, "run": f"demo-{uuid.uuid4().hex}"}
    response = client.invoke(FunctionName=function, Payload=json.dumps(request).encode())
    result = json.loads(response["Payload"].read())
    if "FunctionError" in response or "run" not in result:
        raise FanfoldError(f"the scatter function failed: {result.get('errorMessage', result)}")
    return str(result["run"])


async def _inject(backend: Backend, run_id: str) -> None:
    """Send a message that is not a segment to the work queue, and one segment a second time."""
    run = await backend.ledger.run(run_id)
    if run is None:
        raise FanfoldError(f"run {run_id} is not in the ledger")
    part = next(iter(cut(run.plan, DUPLICATED_SEGMENT)))
    duplicate = Segment(run.job, run.id, DUPLICATED_SEGMENT, part)
    await backend.work_queue.send([Message(STRAY_BODY), Message(duplicate.to_body())])


async def _quarantined(backend: Backend) -> list[dict[str, str]]:
    until = time.monotonic() + _WITHIN_SECONDS
    while time.monotonic() < until:
        received = await backend.quarantine_queue.receive(wait_seconds=1)
        if received:
            return [
                {"body": message.body, "reason": json.loads(message.attributes.get(ATTRIBUTE, "{}")).get("reason", "")}
                for message in received
            ]
    return []
