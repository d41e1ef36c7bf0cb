"""A whole run on the local AWS: how long it takes, and how soon the fold begins once the last segment has ended.

::

    python benchmarks/end_to_end.py [--segments 100] [--runs 9] [--json FILE]

The project's template is deployed to the emulated AWS with a job whose segments do nothing, and runs are started one
after another by invoking the scatter function. A run's time is from its creation to its end, as the ledger says. The
wait for the fold is from the moment when the last segment's handler returned to that when the user's fold is called:
the batch is entered in the ledger, the check is sent, received, and the markers are read in between. The first run,
whose workers are started, is not counted.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from pathlib import Path
from typing import Any

import boto3

from machine import about_this_run, options_parser, positive, publish

CODE_BUCKET = "code"


async def measure(
    client: dict[str, Any], outputs: dict[str, str], segments: int, runs: int
) -> list[tuple[float, float]]:
    """Start the runs; return seconds of each, and of its wait for the fold."""
    from fanfold._jobs.report import watch
    from fanfold.aws.backend import connect
    from fanfold.aws.outputs import variables_of

    variables = variables_of(outputs)
    functions, seen = boto3.client("lambda", **client), []
    async with connect(variables, **client) as backend:
        for number in range(runs + 1):
            request = json.dumps({"run": f"run-{number}", "params": {"segments": segments}}).encode()
            await asyncio.to_thread(functions.invoke, FunctionName=outputs["ScatterFunction"], Payload=request)
            _ = [each async for each in watch(backend, f"run-{number}", within_seconds=120)]
            run = await backend.ledger.run(f"run-{number}")
            if run is None or run.output is None or run.ended_at is None or run.state != "SUCCEEDED":
                raise SystemExit("end_to_end.py: a run did not succeed")
            told = json.loads(await backend.get_result(run.output))
            seen.append((run.ended_at - run.created_at, told["fold"] - told["last_segment"]))
    return seen[1:]


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure whole runs on the local AWS.")
    parser.add_argument("--segments", type=positive, default=100, help="segments of a run (%(default)s)")
    parser.add_argument("--runs", type=positive, default=9, help="runs that are counted (%(default)s)")
    options = parser.parse_args()
    from fanfold._stack.deploy import deploy
    from fanfold._stack.emulator import local_stack
    from fanfold._stack.project import project_folder

    about = about_this_run("ministack")
    with local_stack() as stack:
        client = stack.client_settings
        clients = {name: boto3.client(name, **client) for name in ("s3", "cloudformation")}
        clients["s3"].create_bucket(Bucket=CODE_BUCKET)
        outputs = deploy(
            clients,
            project_folder() / "template.yaml",
            name="end-to-end",
            parameters={"HandlerModule": "app"},
            code_bucket=CODE_BUCKET,
            code=Path(__file__).parent / "end_to_end_job",
        )
        seen = asyncio.run(measure(client, outputs, options.segments, options.runs))
    rows = [
        {
            "what": what,
            "runs": options.runs,
            "segments": options.segments,
            "median s": statistics.median(values),
            "least s": min(values),
            "most s": max(values),
        }
        for what, values in (
            ("the run", [run for run, _ in seen]),
            ("the wait for the fold", [wait for _, wait in seen]),
        )
    ]
    publish(about, rows, options.json)


if __name__ == "__main__":
    main()
