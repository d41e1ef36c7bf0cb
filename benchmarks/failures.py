"""A batch of which nothing succeeds: from the last failure to the bytes that Lambda is answered.

::

    python benchmarks/failures.py [--records 10000] [--repeats 7] [--json FILE]

Each peer has seen every handler fail; measured is what is left to do: decide on the answer and write it as the runtime
does, as JSON. Powertools by default raises an error whose text holds every traceback; told not to, it answers with the
list of failures, as fanfold does by default.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import fanfold
from measure import Meter, Records, Rows, in_turn, main, table
from fanfold._base.outcome import partial_response
from fanfold.testing import make_context, make_event


async def _fail(record: object) -> None:  # noqa: ARG001 - as a handler takes it
    raise ValueError("no such order")


def fanfold_answer(event: dict[str, Any]) -> Callable[[], str]:
    """Return what makes fanfold's answer, the handlers having failed."""
    result = asyncio.run(fanfold.consumer(_fail).process(event, make_context()))
    return lambda: json.dumps(partial_response(result.records, result.outcomes))


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


@table("aws-lambda-powertools")
def failures(*, records: Records = 10_000, repeats: Annotated[int, "answers of each peer"] = 7) -> Rows:
    """Measure how long the answer to a batch takes of which nothing succeeded."""
    logging.disable()
    event = make_event(*range(records))
    by_default = "Powertools, by default"
    peers = {
        "fanfold": fanfold_answer(event),
        by_default: powertools_answer(event, raises=True),
        "Powertools, raise_on_entire_batch_failure=False": powertools_answer(event, raises=False),
    }

    def answer(peer: str) -> tuple[float, int]:
        with Meter() as meter:
            size = len(peers[peer]())
        return meter.seconds * 1000, size

    samples = in_turn(answer, list(peers), repeats)
    medians = {peer: median(milliseconds for milliseconds, _ in taken) for peer, taken in samples.items()}
    return [
        {
            "peer": peer,
            "records": records,
            "median ms": medians[peer],
            "answer MB": taken[0][1] / 1e6,
            "/ Powertools": medians[peer] / medians[by_default],
        }
        for peer, taken in samples.items()
    ]


if __name__ == "__main__":
    main(failures)
