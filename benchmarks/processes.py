"""Worker processes, compared with threads and with bare processes.

::

    python benchmarks/processes.py speed [--records 100] [--repeats 5] [--json FILE]
    python benchmarks/processes.py overhead [--records 1 10 1000] [--against FOLDER] [--repeats 5] [--json FILE]
    python benchmarks/processes.py stops [--repeats 5] [--json FILE]
    python benchmarks/processes.py replacement [--repeats 20] [--json FILE]

``speed``: handlers that compute 20 ms in pure Python, with two processes, two threads, and two bare processes that read
lines. ``overhead``: handlers that do nothing with bodies of 1 KB; ``--against`` is a checkout of another version, whose
threads are the peer. ``stops``: the time until a record that holds the
interpreter lock has failed after its timeout, the wait of the records behind it, and the memory of an idle process.
``replacement``: the time from the SIGKILL of an idle process until its replacement is ready, and that of a bare
``python -c "import …"`` of the handler's module, in turns.
"""

import asyncio
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO, Annotated, Any, cast

from measure import Repeats, Rows, fail, isolated, main, table
from peers import check

_BODY_BYTES = 1024
_LEAST_SECONDS = 1.0


def _event(records: int, body_bytes: int, **first: object) -> Any:
    from fanfold import testing

    bodies = [{"order": number, "note": "x" * (body_bytes - 32)} for number in range(records)]
    bodies[0] |= first
    return testing.make_event(*bodies)


@isolated
def batch_seconds(module: str, name: str, records: int, body_bytes: int, repeats: int) -> float:
    """Return the median duration of a batch of a consumer in ``process_handlers`` or ``thread_handlers``."""
    from fanfold import testing

    handler = getattr(importlib.import_module(module), name)
    event, context = _event(records, body_bytes), testing.make_context(900.0)
    for _ in range(5):  # the frames grow
        check("fanfold", handler(event, context))
    seconds: list[float] = []
    until = time.perf_counter() + _LEAST_SECONDS
    while len(seconds) < repeats or time.perf_counter() < until:
        start = time.perf_counter()
        check("fanfold", handler(event, context))
        seconds.append(time.perf_counter() - start)
    handler.close()
    return median(seconds)


def bare_seconds(records: int, repeats: int) -> float:
    """Return the median time of two bare processes that share as many records."""
    program = [sys.executable, "-c", "import process_work; process_work.compute_lines()"]
    folder = Path(__file__).parent
    processes = [
        subprocess.Popen(program, stdin=-1, stdout=-1, text=True, cwd=folder)  # noqa: S603 - this interpreter
        for _ in range(2)
    ]
    streams = [(cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)) for process in processes]
    lines = "".join(json.dumps({"order": number}) + "\n" for number in range(records // 2))
    seconds = []
    for _ in range(repeats + 1):  # the first warms up
        start = time.perf_counter()
        for stdin, _ in streams:
            stdin.write(lines)
            stdin.flush()
        for _, stdout in streams:
            for _ in range(records // 2):
                stdout.readline()
        seconds.append(time.perf_counter() - start)
    for process in processes:
        process.communicate()
    return median(seconds[1:])


@table()
def speed(*, records: Annotated[int, "records in a batch"] = 100, repeats: Repeats = 5) -> Rows:
    """Compare handlers that compute for 20 ms."""
    bare = bare_seconds(records, repeats)
    modules = {"processes": "process_handlers", "threads": "thread_handlers"}
    times = {name: batch_seconds(module, "slow", records, 128, repeats) for name, module in modules.items()}
    return [
        {"workers": "two bare processes", "s": bare, "speed / bare": 1.0, "speed / threads": times["threads"] / bare},
        *(
            {
                "workers": f"fanfold, 2 {name}",
                "s": seconds,
                "speed / bare": bare / seconds,
                "speed / threads": times["threads"] / seconds,
            }
            for name, seconds in times.items()
        ),
    ]


@contextmanager
def _version(checkout: str) -> Iterator[None]:
    """Let measurements import another version of fanfold; without a checkout, this one."""
    before = os.environ.get("PYTHONPATH")
    if checkout:
        os.environ["PYTHONPATH"] = str(Path(checkout).resolve() / "src")
    yield
    os.environ.pop("PYTHONPATH", None)
    if before is not None:
        os.environ["PYTHONPATH"] = before


@table()
def overhead(
    *,
    records: Annotated[tuple[int, ...], "records in a batch"] = (1, 10, 1_000),
    against: Annotated[str, "checkout of the version whose threads are the peer (this one)"] = "",
    repeats: Repeats = 5,
) -> Rows:
    """Compare handlers that do nothing, with bodies of 1 KB."""
    rows = []
    for count in records:
        ours = batch_seconds("process_handlers", "quick", count, _BODY_BYTES, repeats)
        with _version(against):
            threads = batch_seconds("thread_handlers", "quick", count, _BODY_BYTES, repeats)
        rows.append(
            {
                "records": count,
                "processes µs/batch": ours * 1e6,
                "processes µs/record": ours * 1e6 / count,
                "threads µs/batch": threads * 1e6,
                "processes / threads": ours / threads,
            }
        )
    return rows


@isolated
def stop_seconds(repeats: int) -> list[tuple[float, float]]:
    """Return, for each repeat: time from the timeout to the failure, and the time of the next batch."""
    import process_handlers
    from fanfold import testing

    found = []
    handler, timeout = process_handlers.sticking, process_handlers.sticking.settings.timeout or 0.0
    for _ in range(repeats):
        handler(_event(10, 128), testing.make_context(60))
        start = time.perf_counter()
        response = handler(_event(60, 128, note="stick"), testing.make_context(60))
        late = time.perf_counter() - start - timeout
        if len(response["batchItemFailures"]) != 1:
            fail(f"{len(response['batchItemFailures'])} of 60 records failed, not the one that sticks")
        start = time.perf_counter()
        handler(_event(60, 128), testing.make_context(60))
        after = time.perf_counter() - start
        found.append((late, after))
    handler.close()
    return found


@isolated
def idle_megabytes() -> float:
    """Return the resident memory of a process that has run a record of the README's handler."""
    import process_handlers
    from fanfold import testing
    from fanfold._base.operating_system import resident_bytes

    process_handlers.quick(_event(10, 128), testing.make_context(60))
    children = Path("/proc/self/task").glob("*/children")
    pids = [pid for file in children for pid in file.read_text().split()]
    size = max(resident_bytes(pid) or 0 for pid in pids) / 2**20
    process_handlers.quick.close()
    return size


@table()
def stops(*, repeats: Repeats = 5) -> Rows:
    """Measure how fast a record that cannot be interrupted otherwise is ended."""
    lates, afters = zip(*stop_seconds(repeats), strict=True)
    return [
        {
            "from timeout to response, median ms": median(lates) * 1e3,
            "worst ms": max(lates) * 1e3,
            "next batch of 60, median ms": median(afters) * 1e3,
            "largest idle process, RSS MB": idle_megabytes(),
        }
    ]


@isolated
def replacement_seconds(module: str, repeats: int) -> list[tuple[float, float]]:
    """Return, for each repeat: time until the replacement of a killed process is ready, and of a bare import."""
    return asyncio.run(_replacements(module, repeats))


async def _replacements(module: str, repeats: int) -> list[tuple[float, float]]:
    from fanfold._consumer.handler_names import name_of_consumer
    from fanfold._consumer.process_job import Spec
    from fanfold._consumer.process_pool import ProcessPool
    from fanfold._consumer.process_wire import BODY

    ready = asyncio.Event()

    class Watched(ProcessPool):
        def received(self, slot: Any, message: Any) -> None:
            super().received(slot, message)
            if message[0] == "ready":
                ready.set()

    function = importlib.import_module(module).quick.function
    pool = Watched(Spec(name_of_consumer(function), pickle.dumps({}), None, BODY), 1)
    seconds: list[tuple[float, float]] = []
    for _ in range(repeats + 1):  # the first one warms up
        await ready.wait()
        ready.clear()
        start = time.perf_counter()
        os.kill(pool.pids[0], signal.SIGKILL)
        await ready.wait()
        seconds.append((time.perf_counter() - start, import_seconds(module)))
    pool.close()
    return seconds[1:]


def import_seconds(module: str) -> float:
    """Return the time from the start of a bare process until it has imported a module."""
    program = [sys.executable, "-c", f"import {module}; print('ready', flush=True)"]
    start = time.perf_counter()
    with subprocess.Popen(program, stdout=-1, text=True, cwd=Path(__file__).parent) as process:  # noqa: S603 - this interpreter
        cast("IO[str]", process.stdout).readline()
        return time.perf_counter() - start


@table()
def replacement(*, repeats: Repeats = 20) -> Rows:
    """Measure how soon a killed process is replaced."""
    rows = []
    for name, module in {"JSON body": "process_handlers", "with boto3": "process_handlers_boto3"}.items():
        ours, bare = zip(*replacement_seconds(module, repeats), strict=True)
        rows.append(
            {
                "handler": name,
                "ready, median ms": median(ours) * 1e3,
                "worst ms": max(ours) * 1e3,
                "bare import, median ms": median(bare) * 1e3,
                "median of the differences, ms": median(o - b for o, b in zip(ours, bare, strict=True)) * 1e3,
            }
        )
    return rows


if __name__ == "__main__":
    main(speed, overhead, stops, replacement)
