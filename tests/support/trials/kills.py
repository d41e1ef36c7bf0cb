"""Runs on the local AWS while workers are killed with SIGKILL and messages are sent twice.

The emulator's Lambda workers are real processes, which are identified by their command lines in ``/proc``.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import boto3

from fanfold._jobs.fold_requests import CheckRun, send_request
from fanfold._jobs.report import read_report, watch
from fanfold._jobs.scatter import segments_left
from fanfold._ports.backend import Backend
from fanfold._ports.enqueue import enqueue
from fanfold._ports.queue import Message
from fanfold._ports.run import RunState
from fanfold._stack.deploy import deploy
from fanfold._stack.emulator import local_stack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from fanfold.aws.outputs import variables_of
from fanfold.errors import FanfoldError

NUMBERS: Final = b"".join(b"%d\n" % (number % 10) for number in range(1200))
OUTPUT, SEGMENTS, CHUNK_BYTES = b"5400", 20, 120
CONCURRENT_RUNS: Final = 5
"""Concurrent runs, which share the killed workers."""
JOB: Final = Path(__file__).parents[1] / "kills_job"
_VISIBILITY_SECONDS, _WITHIN_SECONDS, _KEY, _CODE_BUCKET = 10, 240, "input/numbers.jsonl", "code"


@dataclass(frozen=True, slots=True)
class Hit:
    """The end of a run with killed workers."""

    run: str
    """Name of the run."""
    problems: Sequence[str]
    """Violated promises; empty for one exact output."""
    duplicates: int
    """Segment messages that were sent twice."""
    killed: int
    """Workers that were killed during this run and its concurrent runs."""


class Deployed:
    """The job on the local AWS."""

    def __init__(self, outputs: Mapping[str, str], client: Mapping[str, str]) -> None:
        self.outputs = outputs
        self._client = dict(client)
        self._functions = boto3.client("lambda", **client)
        self._objects = boto3.client("s3", **client)
        self._objects.put_object(Bucket=outputs["ResultsBucket"], Key=_KEY, Body=NUMBERS)

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[Backend]:
        """Open its queues, ledger and store."""
        async with connect(variables_of(self.outputs), **self._client) as backend:
            yield backend

    async def scatter(self, run: str) -> int:
        """Start a run; return the number of its segments."""
        params = {"bucket": self.outputs["ResultsBucket"], "key": _KEY, "chunk_bytes": CHUNK_BYTES}
        payload = json.dumps({"run": run, "params": params}).encode()
        response = await asyncio.to_thread(
            self._functions.invoke, FunctionName=self.outputs["ScatterFunction"], Payload=payload
        )
        return int(json.loads(response["Payload"].read())["segments"])

    def outputs_of(self, run: str) -> list[str]:
        """Return the keys of a run's outputs, of every generation."""
        response = self._objects.list_objects_v2(Bucket=self.outputs["ResultsBucket"], Prefix=f"runs/{run}/")
        return [entry["Key"] for entry in response.get("Contents", []) if entry["Key"].endswith("/output.json")]

    def kill_workers(self, function: str) -> int:
        """Kill every process of a function with SIGKILL; return their number."""
        killed = 0
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                if f"ministack-lambda-{self.outputs[function]}-" in command:
                    os.kill(int(folder.name), signal.SIGKILL)
                    killed += 1
        return killed


@contextmanager
def deployed() -> Iterator[Deployed]:
    """Deploy the job from the project's template to a separate emulator, with short timeouts."""
    with local_stack() as stack:
        client = stack.client_settings
        clients = {name: boto3.client(name, **client) for name in ("s3", "cloudformation", "sqs")}
        clients["s3"].create_bucket(Bucket=_CODE_BUCKET)
        outputs = deploy(
            clients,
            project_folder() / "template.yaml",
            name="kills",
            parameters={"FunctionTimeout": "10", "MaxReceiveCount": "50", "HandlerModule": "app"},
            code_bucket=_CODE_BUCKET,
            code=JOB,
        )
        for queue in ("QueueUrl", "DeadLetterQueueUrl", "FoldQueueUrl"):  # one function timeout; six in the template
            clients["sqs"].set_queue_attributes(
                QueueUrl=outputs[queue], Attributes={"VisibilityTimeout": str(_VISIBILITY_SECONDS)}
            )
        yield Deployed(outputs, client)


async def kill_trials(job: Deployed, trials: int, seed: int) -> list[Hit]:
    """Start runs, a few concurrently, and kill their workers at random moments."""
    rng, hits = random.Random(seed), []
    async with job.backend() as backend:
        for first in range(0, trials, CONCURRENT_RUNS):
            names = [f"run-{number}" for number in range(first, min(first + CONCURRENT_RUNS, trials))]
            hits += await _hit(job, backend, names, rng)
    return hits


async def _hit(job: Deployed, backend: Backend, runs: Sequence[str], rng: random.Random) -> list[Hit]:
    for run in runs:
        if (segments := await job.scatter(run)) != SEGMENTS:
            raise FanfoldError(f"{run} has {segments} segments, not {SEGMENTS}")
    killed, duplicates = 0, {}
    for run in runs:
        await asyncio.sleep(rng.uniform(0.2, 1.5))  # a random moment for the kill, not a wait for an event
        killed += job.kill_workers("SegmentFunction")
        duplicates[run] = await _send_again(backend, run, rng)
    killed += job.kill_workers("FoldFunction")
    return [Hit(run, await _problems(job, backend, run), duplicates[run], killed) for run in runs]


async def _send_again(backend: Backend, name: str, rng: random.Random) -> int:
    """Send some segments of a run and a check again; return the number of segments."""
    run = await backend.ledger.run(name)
    if run is None:
        raise FanfoldError(f"{name} is not in the ledger")
    segments = [segment for segment in segments_left(replace(run, position=0)) if rng.random() < 0.5]
    await send_request(backend, CheckRun(name))
    return await enqueue(backend.work_queue, [Message(segment.to_body()) for segment in segments])


async def _problems(job: Deployed, backend: Backend, name: str) -> list[str]:
    try:
        _ = [progress async for progress in watch(backend, name, within_seconds=_WITHIN_SECONDS)]
    except FanfoldError as error:
        return [str(error)]
    run = await backend.ledger.run(name)
    if run is None or run.state != RunState.SUCCEEDED:
        return [f"the run is {run and run.state}"]
    run_report, problems = await read_report(backend, run), []
    if (output := await backend.get_result(str(run.output))) != OUTPUT:
        problems.append(f"the output is {output!r}, not {OUTPUT!r}")
    if (outputs := job.outputs_of(name)) != [f"runs/{name}/0/output.json"]:
        problems.append(f"the outputs are {outputs}")
    counts = (run_report.segments, run_report.done, run_report.missing, dict(run_report.failed))
    if counts != (SEGMENTS, SEGMENTS, 0, {}):
        problems.append(f"the run report is {run_report}")
    return problems
