"""The cost of tracking that every segment has ended: DynamoDB write units for a thousand segments.

::

    python benchmarks/ledger_cost.py [--segments 10000] [--json FILE]

Segments end in random order, in batches of 1, 10, 100 and 1,000, each with a small result, its times, and the log
stream of its execution environment, and are entered as by a job's functions. The table shows the units that the
emulated DynamoDB reports for each write, and those computed from the sizes of the items by DynamoDB's rule (one unit
for each started KiB). For comparison, it shows computed units of a set of ids that grows with each segment (DynamoDB
rewrites the whole item), of a transaction with an item and a counter for each segment, and of a Step Functions
transition for each segment, converted to write units by price.
"""

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from measure import Rows, fail, main, table
from servers import CREDENTIALS

BATCHES = (1, 10, 100, 1_000)
UNIT_DOLLARS = 0.625e-6
"""A write unit on demand (AWS price list, us-east-1, November 2026)."""
TRANSITION_DOLLARS = 25e-6
"""A transition of a standard workflow (AWS price list, us-east-1, November 2026)."""
SET_BYTES = 100
"""Size of an item before the first id. An id in a number set takes about 5 bytes (DynamoDB developer guide)."""


class Metered:
    """A client that adds up the units of its writes, as reported, and as computed from the items."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.reported = 0.0
        self.computed = 0

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._client, name)
        if name not in {"put_item", "update_item"}:
            return operation

        async def metered(**arguments: Any) -> Any:
            response = await operation(**arguments, ReturnConsumedCapacity="TOTAL")
            self.reported += response["ConsumedCapacity"]["CapacityUnits"]
            self.computed += math.ceil(_bytes(arguments.get("Item", {})) / 1_024) if "Item" in arguments else 1
            return response

        return metered


def _bytes(item: Mapping[str, Mapping[str, str | bytes]]) -> int:
    return sum(len(name.encode()) + _length(next(iter(value.values()))) for name, value in item.items())


def _length(value: str | bytes) -> int:
    return len(value.encode() if isinstance(value, str) else value)


async def measure(address: str, segments: int, batch: int) -> tuple[float, float]:
    """Enter all segments; return reported and computed units per thousand."""
    from aiobotocore.session import get_session

    from fanfold import Deadline, Record, Segment, inmemory
    from fanfold._base.context import BatchContext
    from fanfold._jobs.commit import commit_ended
    from fanfold._jobs.job_state import JobState
    from fanfold._jobs.segment_result import SegmentDone, Timing
    from fanfold.aws.dynamodb import DynamoDBLedger
    from fanfold.aws.tables import with_raw_items
    from fanfold.testing import make_context, make_record

    session = with_raw_items(get_session())
    async with session.create_client("dynamodb", endpoint_url=address, **CREDENTIALS) as client:
        table = f"ledger-{batch}"
        await client.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        metered = Metered(client)
        backend = replace(inmemory.backend(), ledger=DynamoDBLedger(metered, table))
        chance = random.Random(0)  # noqa: S311 - an order, and times
        order = chance.sample(range(segments), segments)
        record = Record(make_record("x"))
        for first in range(0, segments, batch):
            invocation = make_context(60)
            invocation.log_stream_name = f"2026/11/29/[$LATEST]{chance.getrandbits(128):032x}"
            context: Any = BatchContext(invocation, Deadline.never(), JobState(backend))
            ended = [
                SegmentDone(
                    Segment("job", "run", n, {"type": "x"}),
                    1,
                    "6293",
                    6293,
                    timing=Timing(1764432990 + chance.uniform(0, 20), chance.uniform(0.5, 3)),
                )
                for n in order[first : first + batch]
            ]
            accepted = await commit_ended([(record, segment) for segment in ended], context)
            if len(accepted) != len(ended):
                fail("not every segment was entered")
        return 1_000 * metered.reported / segments, 1_000 * metered.computed / segments


@table("ministack")
def ledger_cost(*, segments: Annotated[int, "segments of the run"] = 10_000) -> Rows:
    """Measure the cost of the ledger."""
    from fanfold._stack.emulator import local_stack

    with local_stack() as stack:
        units = {
            f"fanfold, batches of {batch:,}": asyncio.run(measure(stack.endpoint_url, segments, batch))
            for batch in BATCHES
        }
    grown = sum(math.ceil((SET_BYTES + 5 * n) / 1_024) for n in range(1, segments + 1)) / segments
    others = {
        "a set of ids": 1_000 * grown,
        "a transaction for each segment": 4_000.0,  # an item and a counter, each at twice the price
        "Step Functions, a transition each": 1_000 * TRANSITION_DOLLARS / UNIT_DOLLARS,
    }
    return [
        {
            "how": how,
            "write units for 1,000 segments": computed,
            "as the emulator reports": reported,
            "$ for a million segments": computed * UNIT_DOLLARS * 1e3,
        }
        for how, (reported, computed) in {**units, **{how: (None, units) for how, units in others.items()}}.items()
    ]


if __name__ == "__main__":
    main(ledger_cost)
