"""A batch in which every record fails: time from the last failure to the encoded batch response.

::

    python benchmarks/failures.py [--records 10000] [--repeats 7] [--json FILE]

Every handler has failed. The time to build the response, and to encode it as JSON as the runtime does, is measured. By
default, Powertools raises an error whose text contains every traceback; with the option not to, it responds with the
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
    """Return a function that builds fanfold's response after all handlers have failed."""
    result = asyncio.run(fanfold.consumer(_fail).process(event, make_context()))
    return lambda: json.dumps(partial_response(result.records, result.outcomes))


def powertools_answer(event: dict[str, Any], *, raises: bool) -> Callable[[], str]:
    """Return a function that builds Powertools' response after all handlers have failed."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType
    from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

    # The public function does the work and builds the response, so the steps are called separately.
    processor: Any = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=raises)
    processor(event["Records"], _fail)

    async def work() -> None:
        processor._prepare()  # noqa: SLF001 - see above
        await asyncio.gather(*[processor._async_process_record(record) for record in processor.records])  # noqa: SLF001

    asyncio.run(work())

    def respond() -> str:
        processor.batch_response = {"batchItemFailures": []}
        try:
            processor._clean()  # noqa: SLF001 - see above
        except BatchProcessingError as error:
            return json.dumps({"errorMessage": str(error), "errorType": "BatchProcessingError"})
        return json.dumps(processor.response())

    return respond


@table("aws-lambda-powertools")
def failures(*, records: Records = 10_000, repeats: Annotated[int, "responses of each peer"] = 7) -> Rows:
    """Measure the time to respond to a batch in which every record failed."""
    logging.disable()
    event = make_event(*range(records))
    by_default = "Powertools, by default"
    peers = {
        "fanfold": fanfold_answer(event),
        by_default: powertools_answer(event, raises=True),
        "Powertools, raise_on_entire_batch_failure=False": powertools_answer(event, raises=False),
    }

    def respond(peer: str) -> tuple[float, int]:
        with Meter() as meter:
            size = len(peers[peer]())
        return meter.seconds * 1000, size

    samples = in_turn(respond, list(peers), repeats)
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
