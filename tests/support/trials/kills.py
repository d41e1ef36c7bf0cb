"""Runs on the local AWS whose workers are killed with SIGKILL, and whose messages are sent twice.

The emulator's Lambda workers are real processes; they are found by their command lines in ``/proc``.
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
ANSWER, SEGMENTS, CHUNK_BYTES = b"5400", 20, 120
TOGETHER: Final = 5
"""Runs at once: they share the workers that are killed."""
JOB: Final = Path(__file__).parents[1] / "kills_job"
_VISIBILITY_SECONDS, _WITHIN_SECONDS, _KEY, _CODE_BUCKET = 10, 240, "input/numbers.jsonl", "code"


@dataclass(frozen=True, slots=True)
class Hit:
    """How a run ended that was hit."""

    run: str
    """Its name."""
    problems: Sequence[str]
    """What was not as promised; empty for one exact answer."""
    duplicates: int
    """Segment messages that were sent once more."""
    killed: int
    """Workers killed while it ran, by it and by the runs beside it."""


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
        """Start a run; return how many segments it has."""
        params = {"bucket": self.outputs["ResultsBucket"], "key": _KEY, "chunk_bytes": CHUNK_BYTES}
        payload = json.dumps({"run": run, "params": params}).encode()
        answer = await asyncio.to_thread(
            self._functions.invoke, FunctionName=self.outputs["ScatterFunction"], Payload=payload
        )
        return int(json.loads(answer["Payload"].read())["segments"])

    def outputs_of(self, run: str) -> list[str]:
        """Return the keys of a run's outputs, of every generation."""
        found = self._objects.list_objects_v2(Bucket=self.outputs["ResultsBucket"], Prefix=f"runs/{run}/")
        return [entry["Key"] for entry in found.get("Contents", []) if entry["Key"].endswith("/output.json")]

    def kill_workers(self, function: str) -> int:
        """Kill every process that runs a function, by its output's name, with SIGKILL; return how many there were."""
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
    """Deploy the job from the project's template, on an emulator of its own whose timeouts are short."""
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
        for queue in ("QueueUrl", "DeadLetterQueueUrl", "FoldQueueUrl"):  # a timeout, where the template has six
            clients["sqs"].set_queue_attributes(
                QueueUrl=outputs[queue], Attributes={"VisibilityTimeout": str(_VISIBILITY_SECONDS)}
            )
        yield Deployed(outputs, client)


async def kill_trials(job: Deployed, trials: int, seed: int) -> list[Hit]:
    """Run so many runs, some at a time, and hit them at random moments."""
    chance, hits = random.Random(seed), []
    async with job.backend() as backend:
        for first in range(0, trials, TOGETHER):
            names = [f"run-{number}" for number in range(first, min(first + TOGETHER, trials))]
            hits += await _hit(job, backend, names, chance)
    return hits


async def _hit(job: Deployed, backend: Backend, runs: Sequence[str], chance: random.Random) -> list[Hit]:
    for run in runs:
        if (segments := await job.scatter(run)) != SEGMENTS:
            raise FanfoldError(f"{run} has {segments} segments, not {SEGMENTS}")
    killed, again = 0, {}
    for run in runs:
        await asyncio.sleep(chance.uniform(0.2, 1.5))  # the point at which to strike, not a wait for anything
        killed += job.kill_workers("SegmentFunction")
        again[run] = await _send_again(backend, run, chance)
    killed += job.kill_workers("FoldFunction")
    return [Hit(run, await _problems(job, backend, run), again[run], killed) for run in runs]


async def _send_again(backend: Backend, name: str, chance: random.Random) -> int:
    """Send some of a run's segments, and a check of it, once more; return how many segments."""
    run = await backend.ledger.run(name)
    if run is None:
        raise FanfoldError(f"{name} is not in the ledger")
    segments = [each for each in segments_left(replace(run, position=0)) if chance.random() < 0.5]
    await send_request(backend, CheckRun(name))
    return await enqueue(backend.work_queue, [Message(segment.to_body()) for segment in segments])


async def _problems(job: Deployed, backend: Backend, name: str) -> list[str]:
    try:
        _ = [each async for each in watch(backend, name, within_seconds=_WITHIN_SECONDS)]
    except FanfoldError as error:
        return [str(error)]
    run = await backend.ledger.run(name)
    if run is None or run.state != RunState.SUCCEEDED:
        return [f"it is {run and run.state}"]
    account, problems = await read_report(backend, run), []
    if (answer := await backend.get_result(str(run.output))) != ANSWER:
        problems.append(f"the answer is {answer!r}, not {ANSWER!r}")
    if (outputs := job.outputs_of(name)) != [f"runs/{name}/0/output.json"]:
        problems.append(f"its outputs are {outputs}")
    if (account.segments, account.done, account.missing, dict(account.failed)) != (SEGMENTS, SEGMENTS, 0, {}):
        problems.append(f"the account says {account}")
    return problems
