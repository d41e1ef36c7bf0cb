"""Generate ``docs/mapping.md``: the mapping's verdicts on responses, and three handlers under each condition.

::

    python benchmarks/mapping_page.py [--check]

Every cell is a result of the simulator (``fanfold.testing.Simulator``) with real handlers: a fanfold consumer,
Powertools' ``AsyncBatchProcessor``, and a typical loop. With ``--check``, nothing is written, and the exit code is 1 if
the page is not up to date.
"""

import asyncio
import importlib.metadata
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fanfold
from fanfold._replay.mapping import Errored, Invocation, MappingSettings, Returned, judge
from fanfold.testing import Simulator, make_fifo_record, make_record

PAGE = Path(__file__).parents[1] / "docs" / "mapping.md"
Handler = Callable[[Any, Any], Any]
RECEIVES = 3

RESPONSES: Sequence[tuple[str, Invocation]] = [
    ("`null`", Returned("null")),
    ("an empty response", Returned("")),
    ("`{}`", Returned("{}")),
    ('`{"batchItemFailures": []}`', Returned('{"batchItemFailures": []}')),
    ('`{"batchItemFailures": null}`', Returned('{"batchItemFailures": null}')),
    ("one id of the batch", Returned('{"batchItemFailures": [{"itemIdentifier": "a"}]}')),
    ("every id of the batch", Returned('{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}')),
    ("an id that is not in the batch", Returned('{"batchItemFailures": [{"itemIdentifier": "z"}]}')),
    ("an empty id", Returned('{"batchItemFailures": [{"itemIdentifier": ""}]}')),
    ("an id that is null", Returned('{"batchItemFailures": [{"itemIdentifier": null}]}')),
    ("a misspelled key", Returned('{"batchItemFailures": [{"itemIdentifer": "a"}]}')),
    ("text that is not JSON", Returned("done")),
    ("a JSON string", Returned('"done"')),
    ("an error is raised", Errored("error", "ValueError: no")),
    ("a timeout", Errored("timeout", "Task timed out after 3.00 seconds")),
    ("a killed process", Errored("killed", "out of memory")),
]
"""Responses of a function to a batch of the messages a and b."""


async def work(order: Any) -> None:
    """Process an order as its body specifies."""
    match order["do"]:
        case "raise":
            raise ValueError("no such customer")
        case "cancel":
            raise asyncio.CancelledError
        case "exit":
            raise SystemExit(1)


@fanfold.consumer
async def ours(order: dict[str, Any]) -> None:
    """Handle a record with fanfold."""
    await work(order)


def theirs() -> Handler:
    """Return a handler with Powertools, as in its documentation."""
    from aws_lambda_powertools.utilities.batch import (
        AsyncBatchProcessor,
        EventType,
        SqsFifoPartialProcessor,
        async_process_partial_response,
        process_partial_response,
    )

    async def record_handler(record: Any) -> None:
        await work(record.json_body)

    def plain_handler(record: Any) -> None:
        asyncio.run(work(record.json_body))

    def handler(event: Any, context: Any) -> Any:
        if event["Records"][0]["eventSourceARN"].endswith(".fifo"):
            return process_partial_response(event, plain_handler, SqsFifoPartialProcessor(), context)
        return async_process_partial_response(event, record_handler, AsyncBatchProcessor(EventType.SQS), context)

    return handler


def naive(event: Any, context: Any) -> Any:  # noqa: ARG001 - as Lambda calls it
    """Handle a batch in a typical hand-written loop that does not return the failures."""
    failures = []
    for record in event["Records"]:
        try:
            asyncio.run(work(json.loads(record["body"])))
        except Exception as error:  # noqa: BLE001 - as people write it
            failures.append({"itemIdentifier": record["messageId"], "error": str(error)})


FINE, POISON = {"do": "nothing"}, {"do": "raise"}
CONDITIONS: Mapping[str, tuple[Sequence[Any], dict[str, Any]]] = {
    "all three succeed": ([FINE, FINE, FINE], {}),
    "the second raises": ([FINE, POISON, FINE], {}),
    "all three raise": ([POISON, POISON, POISON], {}),
    "the second's body is not JSON": ([FINE, "{", FINE], {}),
    "the second is cancelled": ([FINE, {"do": "cancel"}, FINE], {}),
    "the second calls `sys.exit`": ([FINE, {"do": "exit"}, FINE], {}),
    "SQS delivers some messages twice": ([FINE, FINE, FINE], {"duplicates": 0.5}),
    "FIFO, one group, the second raises": ([FINE, POISON, FINE], {"fifo": True}),
    "`ReportBatchItemFailures` is off, the second raises": (
        [FINE, POISON, FINE],
        {"report_batch_item_failures": False},
    ),
}
"""Three records, and the settings of the mapping, under each condition."""


def outcome(handler: Handler, bodies: Sequence[Any], settings: Mapping[str, Any]) -> str:
    """Return as text the ends of three messages, some of which always fail."""
    simulator = Simulator(handler, max_receive_count=RECEIVES, batch_size=10, **settings)
    make = make_fifo_record if settings.get("fifo") else make_record
    simulator.send(records=[make(body, message_id=f"m{number}") for number, body in enumerate(bodies, 1)])
    simulator.run()
    first = simulator.deliveries[0].verdict.kind
    dead = {letter.message_id for letter in simulator.dead_letters}
    poison = {f"m{number}" for number, body in enumerate(bodies, 1) if body != FINE}
    ends = Counter()  # type: ignore[var-annotated] # of texts
    for number in range(1, len(bodies) + 1):
        name = f"m{number}"
        if name in dead:
            ends["dead-lettered" if name in poison else "**valid but dead-lettered**"] += 1
        else:
            ends["deleted" if name not in poison else "**failed but deleted**"] += 1
    counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items(), reverse=True))
    return f"{first}; {counts}; {sum(len(delivery.messages) for delivery in simulator.deliveries)} receives"


def page() -> str:
    """Return the page."""
    version = importlib.metadata.version("aws-lambda-powertools")
    lines = [
        "# Effects of a response",
        "",
        "The response of your function decides which messages Lambda deletes. Find it in the first table. The second",
        "table compares three handlers with the same failures.",
        "",
        "## Which messages a response deletes",
        "",
        "The batch has two messages, a and b. The event source mapping has `ReportBatchItemFailures`.",
        "",
        "| response | verdict | redelivered | reason |",
        "|---|---|---|---|",
    ]
    for name, invocation in RESPONSES:
        verdict = judge(invocation, ["a", "b"], MappingSettings())
        lines.append(f"| {name} | {verdict.kind} | {', '.join(sorted(verdict.failed)) or '-'} | {verdict.reason} |")
    lines += [
        "",
        "A complete success deletes the whole batch. So if a function does not return its failures, their messages are",
        "lost.",
        "",
        "## Three handlers with the same failures",
        "",
        f"A batch has three messages, and the queue allows {RECEIVES} receives of each. A cell has the verdict on the",
        "first delivery, what became of the messages, and the number of all receives. The loop is a typical one that",
        "does not return its failures. **Bold** marks a wrong end: a valid message is dead-lettered, or a failed one",
        "is deleted.",
        "",
        "| condition | fanfold | Powertools, by default | a loop |",
        "|---|---|---|---|",
    ]
    for name, (bodies, settings) in CONDITIONS.items():
        cells = [outcome(handler, bodies, settings) for handler in (ours, theirs(), naive)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "A valid message is dead-lettered if its whole batch fails each time, or if a message before it in its FIFO",
        "group fails. If a function times out, its whole batch is redelivered: see the incident in",
        "[benchmarks](../benchmarks/README.md).",
        "",
        "`python benchmarks/mapping_page.py` generates this page. It simulates the rules of the Lambda developer guide",
        f"of November 2026. The handlers are real, of fanfold {fanfold.__version__} and Powertools for AWS Lambda",
        f"{version}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page, or check whether it is up to date."""
    logging.disable()
    made = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != made:
            raise SystemExit(f"{PAGE.name} is not up to date: run python benchmarks/mapping_page.py")
    else:
        PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
