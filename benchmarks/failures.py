"""A batch of which nothing succeeds: from the last failure to the bytes that Lambda is answered.

::

    python benchmarks/failures.py [--records 10000] [--repeats 7] [--json FILE]

Each peer has seen every handler fail; measured is what is left to do: decide on the answer and write it as the runtime
does, as JSON. Powertools by default raises an error whose text holds every traceback; told not to, it answers with the
list of failures, as fanfold does by default.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import fanfold
from machine import about_this_run, options_parser, positive, publish
from fanfold._base.outcome import partial_response
from fanfold._base.record import records_from_event
from fanfold.testing import make_context, make_event


async def _fail(record: object) -> None:  # noqa: ARG001 - as a handler takes it
    raise ValueError("no such order")


def fanfold_answer(event: dict[str, Any]) -> Callable[[], str]:
    """Return what makes fanfold's answer, the handlers having failed."""
    result = asyncio.run(fanfold.consumer(_fail).process(event, make_context()))
    records = records_from_event(event)
    return lambda: json.dumps(partial_response(records, result.outcomes))


def powertools_answer(event: dict[str, Any], *, raises: bool) -> Callable[[], str]:
    """Return what makes Powertools' answer, the handlers having failed."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType
    from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

    # Its public way does the work and what is measured here in one, so the steps are called one by one.
    processor: Any = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=raises)
    processor(event["Records"], _fail)

    async def work() -> None:
        processor._prepare()  # noqa: SLF001 - see above
        await asyncio.gather(*[processor._async_process_record(record) for record in processor.records])  # noqa: SLF001

    asyncio.run(work())

    def answer() -> str:
        processor.batch_response = {"batchItemFailures": []}
        try:
            processor._clean()  # noqa: SLF001 - see above
        except BatchProcessingError as error:
            return json.dumps({"errorMessage": str(error), "errorType": "BatchProcessingError"})
        return json.dumps(processor.response())

    return answer


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure how long the answer to a batch takes of which nothing succeeded.")
    parser.add_argument("--records", type=positive, default=10_000, help="records in the batch (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=7, help="answers of each peer (%(default)s)")
    options = parser.parse_args()
    logging.disable()
    event = make_event(*range(options.records))
    peers = {
        "fanfold": fanfold_answer(event),
        "Powertools, by default": powertools_answer(event, raises=True),
        "Powertools, raise_on_entire_batch_failure=False": powertools_answer(event, raises=False),
    }
    samples: dict[str, list[float]] = {peer: [] for peer in peers}
    sizes: dict[str, int] = {}
    for _ in range(options.repeats):
        for peer, answer in peers.items():
            start = time.perf_counter()
            sizes[peer] = len(answer())
            samples[peer].append((time.perf_counter() - start) * 1000)
    theirs = statistics.median(samples["Powertools, by default"])
    rows = [
        {
            "peer": peer,
            "records": options.records,
            "median ms": statistics.median(milliseconds),
            "answer MB": sizes[peer] / 1e6,
            "/ Powertools": statistics.median(milliseconds) / theirs,
        }
        for peer, milliseconds in samples.items()
    ]
    publish(about_this_run("aws-lambda-powertools"), rows, options.json)


if __name__ == "__main__":
    main()
