"""``fanfold breaker status``, ``open`` and ``close``."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from rich.progress import TimeElapsedColumn
from typer import Argument, Exit, Option

from fanfold._breakers.by_hand import Released, close_by_hand, make_visible, open_by_hand
from fanfold._ports.breakers import Circuit
from fanfold.cli import options
from fanfold.cli.breaker_status import document, show, show_all
from fanfold.cli.confirm import confirm
from fanfold.cli.show import counted, progress_bar
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError

if TYPE_CHECKING:  # the SDK is an extra, and slow to import
    from fanfold.aws.breakers import DynamoDBBreakers

_VARIABLE: Final = "FANFOLD_BREAKER_TABLE"
_NAMES_PER_READ: Final = 50

Name = Annotated[str, Argument(metavar="NAME", help="Name of the breaker.")]
TableOption = Annotated[
    str | None,
    Option("--table", metavar="TABLE", help="DynamoDB table of the breakers.", show_default=_VARIABLE),
]


def status(
    name: Annotated[
        str | None, Argument(metavar="NAME", help="Name of the breaker; leave it out to list all of the table.")
    ] = None,
    table: TableOption = None,
    as_json: options.Json = False,
) -> None:
    """Show the state of a breaker: since when, the next probe, and whether messages are held.

    Without NAME, it lists the breakers of the table, for which it reads the whole table.

    Exit code 0 if the breaker, or each of them, is closed: the service is called. 1 if one is open or half-open.
    """
    circuits = anyio.run(_read, _table(table), None if name is None else [_checked(name)])
    if as_json:
        documents = [document(one, circuit) for one, circuit in circuits]
        print(json.dumps({"breakers": documents} if name is None else documents[0]))
    elif name is None:
        show_all(circuits, time.time())
    else:
        show(name, circuits[0][1], time.time())
    if not all(circuit.is_closed for _, circuit in circuits):
        raise Exit(1)


def open_breaker(
    name: Name, table: TableOption = None, yes: options.Yes = False, as_json: options.Json = False
) -> None:
    """Open a breaker by hand, before you take its service down.

    The service is then not called, and messages are held, until you run `fanfold breaker close`. No probe closes the
    breaker. An execution environment that is running without errors goes on until its next error that counts, and a
    new one sees it immediately.

    Functions that share the breaker with Powertools' circuit breaker still probe.
    """
    where, name = _table(table), _checked(name)
    question = "The service is not called, and messages are held, until you close it."
    confirm(f"Open breaker {name} in table {where}? {question}", yes=yes)
    circuit = anyio.run(_open, where, name)
    if as_json:
        print(json.dumps(document(name, circuit)))
    else:
        print(f"breaker {name} is open by hand. Run `fanfold breaker close {name}` to close it")


def close_breaker(name: Name, table: TableOption = None, as_json: options.Json = False) -> None:
    """Close a breaker, and make its held messages visible.

    The service is then called again, also if you had opened the breaker by hand. If the service is still down, the
    breaker opens again.

    If the command is interrupted, run it again: it makes the rest visible, and so does the next invocation. A message
    that was received again or deleted in the meantime counts as gone.

    Exit code 0 only if the breaker is closed and all messages of its pages are visible or gone.
    """
    where, name = _table(table), _checked(name)
    released = Released()
    circuit = anyio.run(_close, where, name, released)
    if as_json:
        result = {"visible": released.visible, "gone": released.gone, "unreadable_pages": released.unreadable}
        print(json.dumps({**document(name, circuit), **result}))
    else:
        gone = f"; {released.gone:,} were gone" if released.gone else ""
        print(f"breaker {name} is closed; {counted(released.visible, 'message')} made visible{gone}")
    _raise_unless_complete(name, circuit, released)


def _raise_unless_complete(name: str, circuit: Circuit, released: Released) -> None:
    if not circuit.is_closed:
        left = counted(circuit.pages - circuit.released, "page")
        raise FanfoldError(
            f"breaker {name!r} has opened again: its service is still down; {left} of held messages are left"
        )
    if released.unreadable:
        raise FanfoldError(
            f"breaker {name!r}: {counted(released.unreadable, 'page')} of held messages could not be read; these "
            "messages become visible when their visibility timeouts end"
        )


def _table(name: str | None) -> str:
    if table := name or os.environ.get(_VARIABLE):
        return table
    raise ConfigurationError(f"specify --table, or set {_VARIABLE}: the DynamoDB table of the breakers")


def _checked(name: str) -> str:
    if not name or "#" in name:
        raise ConfigurationError(f"NAME must be the name of a breaker: not empty and without '#', not {name!r}")
    return name


def _opened(table: str) -> AbstractAsyncContextManager[DynamoDBBreakers]:
    try:
        from fanfold.aws.breakers import open_breakers
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "fanfold breaker") from error
    return open_breakers(table)


async def _read(table: str, names: Sequence[str] | None) -> Sequence[tuple[str, Circuit]]:
    async with _opened(table) as breakers:
        names = await breakers.names() if names is None else names
        parts = [names[first : first + _NAMES_PER_READ] for first in range(0, len(names), _NAMES_PER_READ)]
        circuits = [circuit for part in parts for circuit in await breakers.read(part)]
    return list(zip(names, circuits, strict=True))


async def _open(table: str, name: str) -> Circuit:
    async with _opened(table) as breakers:
        return await open_by_hand(breakers, name, time.time())


async def _close(table: str, name: str, released: Released) -> Circuit:
    from fanfold.aws.sqs import open_settler

    owner = f"command-{uuid.uuid4().hex}"
    async with _opened(table) as breakers:
        circuit = await close_by_hand(breakers, name, time.time(), owner)
        if not circuit.has_held:
            return circuit
        pages = circuit.pages - circuit.released
        with progress_bar("pages of held messages made visible", pages, TimeElapsedColumn()) as update:
            try:
                async with open_settler("") as settler:
                    return await make_visible(
                        breakers,
                        name,
                        settler,
                        now=time.time,
                        owner=owner,
                        released=released,
                        progress=lambda: update(completed=released.pages),
                    )
            except FanfoldError as error:
                raise FanfoldError(
                    f"breaker {name!r} is closed; {counted(released.visible, 'message')} made visible, then: {error}. "
                    "Run the command again to continue"
                ) from error
