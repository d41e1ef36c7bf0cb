"""The main job on real input, on the local AWS: every part is the real one, and the answer is checked.

27,004 flights of January 2013 (public domain, CC0) are uploaded, the project's own template is deployed, the object is
scattered, consumed by the event source mapping with faults injected, and folded. The same answer is computed a second
time by one plain pass over the file.
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
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import LocalStack, local_stack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of
from fanfold.errors import ConfigurationError, FanfoldError
from fanfold.sources import cut

STRAY_BODY: Final = '{"note": "I am no segment; somebody sent me to the wrong queue"}'
"""The one message on the work queue that is no segment."""
DUPLICATED_SEGMENT: Final = 5
"""The segment that is sent twice."""

# Long enough for an execution environment that a busy machine starts slowly.
_PARAMETERS: Final = {"HandlerModule": "faulty_app", "FunctionTimeout": "15"}
_CODE_BUCKET: Final = "fanfold-demo-code"
_INPUT_KEY: Final = "input/flights-2013-01.csv"
_WITHIN_SECONDS: Final = 120.0

Answer = dict[str, dict[str, Any]]


@dataclass(slots=True)
class DemoReport:
    """What the demo found."""

    run: str
    """Name of the run."""
    state: str
    """Its end state."""
    answer: Answer
    """What the fold committed, by carrier."""
    expected: Answer
    """The same, by one plain pass over the file."""
    run_report: RunReport
    """What became of every segment."""
    quarantined: list[dict[str, str]]
    """Messages in the quarantine queue, with their reasons."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each step took."""

    @property
    def problems(self) -> list[str]:
        """What does not hold, one line each; empty if all does."""
        found = []
        if self.state != "SUCCEEDED":
            found.append(f"the run ended as {self.state}: {dict(self.run_report.failed)}")
        if self.answer != self.expected:
            found.append("the committed answer differs from the one plain pass over the file")
        if [message["body"] for message in self.quarantined] != [STRAY_BODY] or not self.quarantined[0]["reason"]:
            found.append("the stray message does not lie in the quarantine queue with its reason")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the report as one JSON document."""
        return {**asdict(self), "agrees": self.answer == self.expected, "problems": self.problems}


def flights_file() -> Path:
    """Return the compressed input that comes with the example."""
    file = project_folder() / "examples" / "flights" / "flights-2013-01.csv.gz"
    if not file.is_file():
        raise ConfigurationError(f"the demo's input is missing: {file}")
    return file


def expected_output(data: bytes) -> Answer:
    """Return what the job should find, by one plain pass over the CSV text."""
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
    """Times the steps and tells whoever watches."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._tell = tell

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._tell(name)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


async def run_demo(
    *,
    segments: int,
    port: int | None,
    tell: Callable[[str], None],
    progress: Callable[[Progress], None],
    keep_log: Path | None = None,
) -> DemoReport:
    """Run the demo on a local AWS of its own, which is stopped at the end whatever happens.

    Args:
        segments: How many segments to cut, from 16.
        port: Where the local AWS listens; None for a free port.
        tell: Called with the name of each step as it begins.
        progress: Called with how far the run is, now and then.
        keep_log: Where to keep the log of the local AWS; None to drop it.

    Raises:
        FanfoldError: If a step fails; nothing is left running.
    """
    steps = _Steps(tell)
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
        with steps.step("check the answer by one plain pass over the file"):
            expected = expected_output(data)
        return await _report(backend, run_id, expected, quarantined, steps)


async def _report(
    backend: Backend, run_id: str, expected: Answer, quarantined: list[dict[str, str]], steps: _Steps
) -> DemoReport:
    run: Run | None = await backend.ledger.run(run_id)
    if run is None or run.output is None:
        raise FanfoldError(f"run {run_id} has no output")
    answer = json.loads(await backend.get_result(run.output))
    run_report = await read_report(backend, run)
    return DemoReport(run_id, run.state, answer, expected, run_report, quarantined, steps.seconds)


def _clients(stack: LocalStack) -> dict[str, Any]:
    session = boto3.session.Session()
    return {name: session.client(name, **stack.client_settings) for name in ("s3", "cloudformation", "lambda")}


def _scatter(client: Any, function: str, params: Mapping[str, Any]) -> str:
    request = {"params": params, "run": f"demo-{uuid.uuid4().hex}"}
    answer = client.invoke(FunctionName=function, Payload=json.dumps(request).encode())
    result = json.loads(answer["Payload"].read())
    if "FunctionError" in answer or "run" not in result:
        raise FanfoldError(f"the scatter function failed: {result.get('errorMessage', result)}")
    return str(result["run"])


async def _inject(backend: Backend, run_id: str) -> None:
    """Put a message on the work queue that is no segment, and one segment a second time."""
    run = await backend.ledger.run(run_id)
    if run is None:
        raise FanfoldError(f"run {run_id} is not in the ledger")
    part = next(iter(cut(run.plan, DUPLICATED_SEGMENT)))
    twice = Segment(run.job, run.id, DUPLICATED_SEGMENT, part)
    await backend.work_queue.send([Message(STRAY_BODY), Message(twice.to_body())])


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
