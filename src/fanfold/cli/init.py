"""``fanfold init``."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fanfold import __version__
from fanfold.init import create

_NEXT = """
  cd {name}
  make test                    # runs the tests
  make replay                  # delivers the saved messages, as Lambda would
  make check                   # finds settings that lose messages
  sam build                    # needs no container
  sam deploy --config-env dev"""


def init(
    name: str = typer.Argument(metavar="NAME", help="Name of the project, its folder, and its stacks."),
    job: bool = typer.Option(False, "--job", help="Create a job (scatter, segment, fold) instead of a consumer."),
    fifo: bool = typer.Option(False, "--fifo", help="Create a consumer of a FIFO queue."),
    powertools: bool = typer.Option(
        False, "--powertools", help="Create a consumer with the logger, metrics and tracer of Powertools."
    ),
    breaker: bool = typer.Option(
        False, "--breaker", help="Add a breaker to the consumer: an outage of a service that it calls costs no message."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document instead of text."),
) -> None:
    """Create a new project: handler, template, tests, saved events, CI.

    Use it to start a service. The project passes its tests and can be deployed as is. Its requirements have exact
    versions. An existing folder is never changed.
    """
    folder = create(name, Path(), version=__version__, job=job, fifo=fifo, powertools=powertools, breaker=breaker)
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    if as_json:
        print(json.dumps({"folder": str(folder), "files": files}))
        return
    kind = "job" if job else "consumer with a breaker" if breaker else "consumer"
    print(f"{folder}: created a {kind} with {len(files)} files, described in README.md")
    print(_NEXT.format(name=name))
