"""What a batch costs beside the handlers' own work: fanfold, Powertools, a bare loop, and doing nothing, in one run.

::

    python benchmarks/overhead.py [--records 10000] [--repeats 7] [--json FILE]

Every measurement is a process of its own, the peers take turns, and the table shows medians; see README.md beside
this file for what the numbers say and what they do not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import machine

Event: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Event, Any], Any]
"""What Lambda calls: an event and a context in, a partial batch response out."""

BODY_BYTES = 640
"""About the size of one JSON body."""
IO_SECONDS = 0.010
WARM_UP_RECORDS = 100
"""Records of the call that imports what is left and starts the loop, before memory is measured."""
INVOCATION_SECONDS = 900.0
TELLING_BYTES = 500_000
"""Least growth of memory that a ratio is given to: the kernel counts pages in lots."""
PACKAGES = ("aws-lambda-powertools", "anyio", *(["fastsqs"] if importlib.util.find_spec("fastsqs") else []))
COLUMNS = {
    "workload": "workload",
    "peer": "peer",
    "us_per_record": "µs/record",
    "us_per_record_range": "min-max",
    "times_powertools": "/ Powertools",
    "times_bare": "/ bare",
    "cpu_us_per_record": "CPU µs/record",
    "peak_mb": "peak MB",
    "peak_times_powertools": "/ Powertools",
    "peak_times_bare": "/ bare",
}
"""What the JSON document calls a value, and what the table does; words first, numbers from the third on."""
WORDS = 2


# --- Workloads: one handler on the body, and the same for Powertools, which hands over its record.


async def accept(order: dict[str, Any]) -> None:
    """Do nothing with a decoded body."""


async def accept_record(record: Any) -> None:
    """Decode the body and do nothing with it."""
    _ = record.json_body


async def wait(_body: str) -> None:
    """Wait as for one request."""
    await asyncio.sleep(IO_SECONDS)


async def wait_record(record: Any) -> None:  # noqa: ARG001 - Powertools gives it by this name
    """Wait as for one request."""
    await asyncio.sleep(IO_SECONDS)


async def refuse(_body: str) -> None:
    """Fail."""
    raise ValueError("refused")


async def refuse_record(record: Any) -> None:  # noqa: ARG001 - Powertools gives it by this name
    """Fail."""
    raise ValueError("refused")


@dataclass(frozen=True, slots=True)
class Workload:
    """What the handlers of one row of the table do."""

    title: str
    handler: Callable[[Any], Coroutine[Any, Any, None]]
    """Takes the body; fanfold and the bare loop run it."""
    record_handler: Callable[[Any], Coroutine[Any, Any, None]]
    """The same, written for Powertools' record."""
    concurrency: int = 100
    """Handlers at once, for the peers that have a bound."""
    decodes: bool = False
    """Whether the handler takes the body decoded from JSON."""
    waits: bool = False
    """Whether handlers wait: the bare loop is then a bare pool of as many workers as the bound."""
    fails: bool = False

    @property
    def bare_name(self) -> str:
        """What the bare peer is at this workload."""
        return f"bare pool of {self.concurrency}" if self.waits else "bare loop"


WORKLOADS = {
    "noop": Workload("async no-op, JSON decoded", accept, accept_record, decodes=True),
    "io": Workload("async, 10 ms of I/O", wait, wait_record, concurrency=1000, waits=True),
    "fail": Workload("async, all fail", refuse, refuse_record, fails=True),
}


# --- Peers: each makes a Lambda handler for a workload, once, as a module does when it is imported.


def fanfold_peer(workload: Workload) -> Handler:
    """Make fanfold's consumer, which keeps its event loop from one call to the next."""
    import fanfold

    return fanfold.consumer(concurrency=workload.concurrency)(workload.handler)


def powertools_peer(workload: Workload) -> Handler:
    """Make the handler that Powertools' documentation shows; it keeps its loop where Lambda's variables are set."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

    processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    def handle(event: Event, context: Any) -> Any:
        return async_process_partial_response(
            event=event, record_handler=workload.record_handler, processor=processor, context=context
        )

    return handle


def fastsqs_peer(workload: Workload) -> Handler:
    """Make an app of FastSQS under the same bound; it decodes every body."""
    from fastsqs import FastSQS

    app = FastSQS(max_concurrent_messages=workload.concurrency)
    handler = workload.handler

    @app.default()
    async def default(payload: Any, ctx: Any) -> None:  # noqa: ARG001 - FastSQS gives both
        await handler(payload)

    return cast("Handler", app.handler)


def bare_peer(workload: Workload) -> Handler:
    """Make a bare loop over the records, or, for handlers that wait, a bare pool of workers over one iterator."""
    loop = asyncio.new_event_loop()
    most = workload.concurrency if workload.waits else 1

    async def run(event: Event) -> Any:
        pending, failures = iter(event["Records"]), list[dict[str, str]]()
        workers = min(most, len(event["Records"]))
        await asyncio.gather(*(_work(pending, workload, failures) for _ in range(workers)))
        return {"batchItemFailures": failures}

    return lambda event, _: loop.run_until_complete(run(event))


async def _work(pending: Iterator[dict[str, Any]], workload: Workload, failures: list[dict[str, str]]) -> None:
    handler, decodes = workload.handler, workload.decodes
    for record in pending:
        try:
            await handler(json.loads(record["body"]) if decodes else record["body"])
        except ValueError:
            failures.append({"itemIdentifier": record["messageId"]})


def nothing_peer(_workload: Workload) -> Handler:
    """Make a handler that looks at each record and does nothing; it fails nothing either."""

    def handle(event: Event, _context: Any) -> Any:
        for _ in event["Records"]:
            pass
        return None

    return handle


PEERS: dict[str, Callable[[Workload], Handler]] = {
    "fanfold": fanfold_peer,
    "Powertools": powertools_peer,
    **({"FastSQS": fastsqs_peer} if importlib.util.find_spec("fastsqs") else {}),
    "bare": bare_peer,
    "nothing": nothing_peer,
}


# --- One measurement, in a process of its own.


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer's handling of one batch."""

    seconds: float
    """Wall clock of the whole batch."""
    cpu_seconds: float
    """Processor time of all threads of the process meanwhile."""
    peak_bytes: int | None
    """Growth of peak resident memory above the start; None where it cannot be measured."""


def make_event(records: int) -> Event:
    """Return an event of orders, decoded from JSON as Lambda's runtime hands it over."""
    from fanfold import testing

    text = json.dumps(testing.make_event(*(_order(number) for number in range(records))))
    event: Event = json.loads(text)
    return event


def _order(number: int) -> dict[str, Any]:
    order = {"order": number, "customer": f"customer-{number}", "placed_at": "2026-01-01T00:00:00Z", "note": ""}
    order["note"] = "x" * (BODY_BYTES - len(json.dumps(order)))
    return order


def measure(peer: str, workload: Workload, records: int) -> Sample:
    """Warm a peer up with a small batch, measure memory over the first whole one, and time over the second."""
    from fanfold import testing

    handler, context = PEERS[peer](workload), testing.make_context(INVOCATION_SECONDS)
    event = make_event(records)
    handler(make_event(min(records, WARM_UP_RECORDS)), context)
    gc.collect()
    start = machine.reset_peak()
    response = handler(event, context)
    peak = machine.peak_bytes()
    _check(peer, workload, records, response)
    del response
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    handler(event, context)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(wall, cpu, None if start is None or peak is None else max(0, peak - start))


def _check(peer: str, workload: Workload, records: int, response: Any) -> None:
    failures = 0 if response is None else len(response["batchItemFailures"])
    if failures != (records if workload.fails and peer != "nothing" else 0):
        raise SystemExit(f"{peer} reported {failures} of {records} records as failed ({workload.title})")


def child_main(peer: str, workload: str, records: int) -> None:
    """Measure and print the sample as JSON."""
    machine.set_up_child()
    print(json.dumps(asdict(measure(peer, WORKLOADS[workload], records))), flush=True)


# --- The run: children in turn, medians, a table.

Samples: TypeAlias = dict[tuple[str, str], list[Sample]]
"""All samples of the run, by workload and peer."""


def run(records: int, repeats: int) -> Samples:
    """Measure every peer at every workload; each repeat starts with another peer."""
    samples: Samples = {(workload, peer): [] for workload in WORKLOADS for peer in PEERS}
    names = list(PEERS)
    for repeat in range(repeats):
        print(f"repeat {repeat + 1} of {repeats}", file=sys.stderr)
        first = repeat % len(names)
        for workload in WORKLOADS:
            for peer in names[first:] + names[:first]:
                samples[workload, peer].append(_in_child(peer, workload, records))
    return samples


def _in_child(peer: str, workload: str, records: int) -> Sample:
    return Sample(**machine.run_child(__file__, peer, workload, "--records", str(records)))


def about_this_run(records: int, repeats: int) -> dict[str, Any]:
    """Return where, with what and by which command the numbers are made."""
    about = machine.about_this_run(*PACKAGES)
    return {**about, "records": records, "body_bytes": BODY_BYTES, "repeats": repeats}


def results(samples: Samples, records: int) -> list[dict[str, Any]]:
    """Return medians and ratios for each workload and peer, with the samples they are made of."""
    return [_result(workload, peer, samples, records) for workload, peer in samples]


def _result(workload: str, peer: str, samples: Samples, records: int) -> dict[str, Any]:
    ours, theirs, bare = (samples[workload, one] for one in (peer, "Powertools", "bare"))
    micros = [sample.seconds / records * 1e6 for sample in ours]
    peak = _peak(ours)
    return {
        "workload": WORKLOADS[workload].title,
        "peer": WORKLOADS[workload].bare_name if peer == "bare" else peer,
        "us_per_record": statistics.median(micros),
        "us_per_record_range": f"{min(micros):.2f}-{max(micros):.2f}",
        "times_powertools": _seconds(ours) / _seconds(theirs),
        "times_bare": _seconds(ours) / _seconds(bare),
        "cpu_us_per_record": statistics.median(sample.cpu_seconds / records * 1e6 for sample in ours),
        "peak_mb": None if peak is None else peak / 1e6,
        "peak_times_powertools": _ratio(peak, _peak(theirs)),
        "peak_times_bare": _ratio(peak, _peak(bare)),
        "samples": [asdict(sample) for sample in ours],
    }


def _seconds(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.seconds for sample in samples)


def _peak(samples: Sequence[Sample]) -> float | None:
    peaks = [sample.peak_bytes for sample in samples if sample.peak_bytes is not None]
    return statistics.median(peaks) if peaks else None


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None or theirs < TELLING_BYTES else ours / theirs


def report(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Return the machine, the versions and the table, as Markdown that reads well as it is."""
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    head = [
        f"{about['cpu']}, {about['cores']} cores, {about['system']}",
        f"{about['python']}, {packages}",
        f"{about['date']}, {about['command']}",
        f"{about['records']:,} records of {about['body_bytes']} bytes, medians of {about['repeats']}",
    ]
    return "\n".join(
        [*head, "", *_table([list(COLUMNS.values()), *([_cell(row, key) for key in COLUMNS] for row in rows)])]
    )


def _cell(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if value is None:
        return "not measured" if key == "peak_mb" else "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [
        [
            cell.ljust(width) if i < WORDS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rule = ["-" * width if i < WORDS else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return [f"| {' | '.join(cells)} |" for cells in (aligned[0], rule, *aligned[1:])]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what a batch costs beside the handlers' own work.")
    parser.add_argument("--records", type=_positive, default=10_000, help="records in the batch (%(default)s)")
    parser.add_argument("--repeats", type=_positive, default=7, help="processes for each measurement (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers, with every sample, there")
    parser.add_argument("--child", nargs=2, metavar=("PEER", "WORKLOAD"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the benchmark and print the table."""
    options = _options()
    if options.child:
        peer, workload = options.child
        child_main(peer, workload, options.records)
        return
    about = about_this_run(options.records, options.repeats)
    rows = results(run(options.records, options.repeats), options.records)
    print(report(about, rows))
    if options.json:
        text = json.dumps({**about, "results": rows}, indent=2, ensure_ascii=False)
        options.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
