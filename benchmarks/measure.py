"""Shared code of the benchmarks: options, processes, samples, tables, and facts about the run.

A script declares each of its tables as a function::

    @table("aws-lambda-powertools")
    def memory(*, records: Records = 500, repeats: Repeats = 3) -> Rows:
        samples = in_turn(lambda peer: peak_mb(peer, records), PEERS, repeats)
        return [{"peer": peer, "peak MB": median(peaks)} for peer, peaks in samples.items()]

The keyword arguments are the options of the command line. A function with ``@isolated`` runs in a separate process, and
one with ``@served`` in a process that serves until it is no longer needed. ``main`` measures, prints, and writes the
JSON document.
"""

import argparse
import asyncio
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import logging
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, Self, TypeAlias, TypeVar

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "support"))

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Hashable)
Rows: TypeAlias = list[dict[str, Any]]
"""The rows of a table, as values by column title. Values that are lists are only written to the JSON document."""
Records: TypeAlias = Annotated[int, "records in the batch"]
Repeats: TypeAlias = Annotated[int, "processes for each measurement"]


# --- Options and tables.


@dataclass(frozen=True, slots=True)
class Table:
    """A function that measures, and how its rows are reported."""

    measure: Callable[..., Rows | dict[str, Any]]
    """Returns the rows, or a dictionary with them as ``results`` and more for the JSON document, such as more rows."""
    packages: tuple[str, ...]
    """Packages to report the versions of, in addition to fanfold."""
    holds: Callable[[Rows], bool]
    """Returns whether the rows are as expected; if not, the exit code is 1."""

    def run(self, *, json: Path | None = None, **options: Any) -> bool:
        """Measure, print, write the JSON document if requested, and return whether the rows are as expected."""
        document = about_this_run(*self.packages) | {"options": options}
        measured = self.measure(**options)
        document |= measured if isinstance(measured, dict) else {"results": measured}
        print(report(document), end="\n\n")
        if json:
            json.write_text(_json(document) + "\n", encoding="utf-8")
        return self.holds(document["results"])


def table(
    *packages: str, holds: Callable[[Rows], bool] = lambda _: True
) -> Callable[[Callable[..., Rows | dict[str, Any]]], Table]:
    """Declare a table; see ``Table``."""
    return lambda measure: Table(measure, packages, holds)


def main(*tables: Table) -> None:
    """Run the tables of a script with the options of the command line, which can select one of several tables."""
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").partition("\n")[0])
    if len(tables) == 1:
        _add_options(parser, tables[0])
    else:
        commands = parser.add_subparsers(metavar="TABLE", help="the table to measure (default: all)")
        for declared in tables:
            summary = (declared.measure.__doc__ or "").partition("\n")[0]
            command = commands.add_parser(declared.measure.__name__, help=summary, description=summary)
            command.set_defaults(table=declared)
            _add_options(command, declared)
    options = vars(parser.parse_args())
    chosen = [options.pop("table")] if "table" in options else tables
    expected = [selected.run(**options) for selected in chosen]
    sys.exit(0 if all(expected) else 1)


def _add_options(parser: argparse.ArgumentParser, declared: Table) -> None:
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers to this file, as one JSON document"
    )
    add_options(parser, declared.measure)


def add_options(parser: argparse.ArgumentParser, function: Callable[..., object]) -> None:
    """Add an option for each keyword argument, which is annotated with its help text and optional choices."""
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        text, *choices = parameter.annotation.__metadata__
        default = parameter.default
        one = default[0] if isinstance(default, tuple) else default
        settings: dict[str, Any] = {"help": text, "default": default}
        if isinstance(default, bool):
            settings |= {"action": "store_true"}
        else:
            kind = str if choices or isinstance(one, str) else float if isinstance(one, float) else positive
            settings |= {"type": kind, "nargs": "+" if isinstance(default, tuple) else None}
            settings |= {"choices": choices[0]} if choices else {}
            settings |= {} if default is None or choices else {"help": f"{text} (%(default)s)"}
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)


def positive(text: str) -> int:
    """Return an integer of at least 1, for an option.

    Raises:
        argparse.ArgumentTypeError: If the text is not one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {text!r}")
    return int(text)


# --- The report of a run.


def about_this_run(*packages: str) -> dict[str, Any]:
    """Return the machine, the versions, the date, and the command that produces the numbers."""
    from fanfold.bench.result import about_this_machine  # not in the processes that are measured

    script = Path(sys.argv[0]).name
    return {
        **about_this_machine(),
        "packages": {name: _version(name) for name in ("fanfold", *packages)},
        "command": shlex.join(["python", f"benchmarks/{script}", *sys.argv[1:]]),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        fail(f"{package} is not installed; pip install fanfold {package}")


def installed(*packages: str) -> list[str]:
    """Return the packages that are installed."""
    return [name for name in packages if importlib.util.find_spec(name) is not None]


def fail(reason: str) -> NoReturn:
    """End the script, and print its name and the reason on stderr."""
    raise SystemExit(f"{Path(sys.argv[0]).name}: {reason}")


def report(document: dict[str, Any]) -> str:
    """Return the machine, the versions and the tables of a JSON document, as readable Markdown."""
    packages = ", ".join(f"{name} {version}" for name, version in document["packages"].items())
    options = [
        f"{name.replace('_', ' ')} {_cell(value)}"
        for name, value in document["options"].items()
        if value is not None and not isinstance(value, bool)
    ]
    head = [
        f"{document['cpu']}, {document['cores']} cores, {document['system']}",
        f"{document['python']}, {packages}",
        f"{document['date']}, {document['command']}",
        *([", ".join(options)] if options else []),
    ]
    tables = [
        _table(rows) for rows in document.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
    ]
    return "\n\n".join(["\n".join(head), *tables])


def _table(rows: Rows) -> str:
    """Return a table. Leading columns of text are left-aligned, all others right-aligned."""
    titles = [title for title, value in rows[0].items() if not isinstance(value, list)]
    columns = [[row[title] for row in rows] for title in titles]
    text_columns = next((i for i, column in enumerate(columns) if not isinstance(column[0], str)), len(columns))
    cells = [[title, *map(_cell, column)] for title, column in zip(titles, columns, strict=True)]
    lines = []
    for i, column in enumerate(cells):
        width = max(map(len, column))
        rule = "-" * width if i < text_columns else "-" * (width - 1) + ":"
        aligned = [cell.ljust(width) if i < text_columns else cell.rjust(width) for cell in column]
        lines.append([aligned[0], rule, *aligned[1:]])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*lines, strict=True))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        return " ".join(map(_cell, value))
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


# --- Samples.


def in_turn(measure: Callable[[C], T], cases: Sequence[C], repeats: int) -> dict[C, list[T]]:
    """Measure every case several times. Each repeat starts with another case."""
    samples: dict[C, list[T]] = {case: [] for case in cases}
    for repeat in range(repeats):
        print(f"repeat {repeat + 1} of {repeats}", file=sys.stderr)
        first = repeat % len(cases)
        for case in [*cases[first:], *cases[:first]]:
            samples[case].append(measure(case))
    return samples


def spread(values: Sequence[float], digits: int) -> str:
    """Return the minimum and the maximum of values, as text."""
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"


class Meter:
    """A context manager that measures a block: wall clock, processor time, and growth of peak memory."""

    seconds = 0.0
    """Wall clock."""
    cpu_seconds = 0.0
    """Processor time of all threads of this process."""
    peak_mb: float | None = None
    """Growth of peak resident memory; None if it cannot be measured."""

    def __enter__(self) -> Self:
        self._resident = reset_peak()
        self._cpu, self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter() - self._start, time.process_time() - self._cpu
        peak = status_bytes("VmHWM")
        self.peak_mb = None if self._resident is None or peak is None else max(0, peak - self._resident) / 1e6


def reset_peak() -> int | None:
    """Reset the peak of this process's resident memory to its present value, and return it; None if that fails."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return status_bytes("VmHWM")


def status_bytes(field: str) -> int | None:
    """Return a field of this process's status, such as ``VmRSS``, in bytes; None if it cannot be read."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


# --- Processes.


def isolated(function: Callable[P, T]) -> Callable[P, T]:
    """Run each call of a function in a separate process. Its arguments and its result are JSON values."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        command = command_of(function, args, kwargs)
        child = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
        if child.returncode:
            reason = (child.stderr.strip().splitlines() or ["no error output"])[-1]
            fail(f"{function.__name__} {_cell(args)} failed: {reason}")
        result: T = json.loads(child.stdout)
        return result

    return call


def served(start: Callable[P, Coroutine[Any, Any, asyncio.Server]]) -> Callable[P, AbstractContextManager[int]]:
    """Run a server in a separate process during a ``with`` block, which receives its port."""

    @functools.wraps(start)
    @contextmanager
    def serve(*args: P.args, **kwargs: P.kwargs) -> Iterator[int]:
        with first_line(*command_of(start, args, kwargs)) as port:
            yield int(port)

    return serve


@contextmanager
def first_line(*command: str) -> Iterator[str]:
    """Start a process in a clean environment, yield the first line it prints, and terminate it at the end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment(), text=True) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None  # noqa: S101 - a pipe
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def clean_environment() -> dict[str, str]:
    """Return the environment of measured processes: without settings of fanfold and Python, with Lambda's."""
    not_for_children = {
        "FANFOLD_CONCURRENCY",
        "PYTHONASYNCIODEBUG",
        "PYTHONDEVMODE",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONMALLOC",
        "PYTHONTRACEMALLOC",
    }
    environment = {name: value for name, value in os.environ.items() if name not in not_for_children}
    # Lambda sets this variable. With it, Powertools reuses its event loop instead of creating one for each batch.
    return {**environment, "LAMBDA_TASK_ROOT": str(HERE)}


def command_of(function: Callable[..., object], args: Sequence[object], kwargs: dict[str, Any]) -> list[str]:
    """Return the command that runs one call of a function in a separate process and prints its result as JSON."""
    module = Path(function.__code__.co_filename).stem
    return [sys.executable, __file__, module, function.__name__, json.dumps([args, kwargs])]


async def _serve(starting: Coroutine[Any, Any, asyncio.Server]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = await starting
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _child(module: str, name: str, arguments: str) -> None:
    # Every peer formats its log lines, but none writes them.
    logging.basicConfig(level=logging.WARNING, handlers=[logging.NullHandler()])
    args, kwargs = json.loads(arguments)
    result = getattr(importlib.import_module(module), name).__wrapped__(*args, **kwargs)
    if inspect.iscoroutine(result):
        asyncio.run(_serve(result))
    else:
        print(json.dumps(result))


if __name__ == "__main__":
    _child(*sys.argv[1:])
