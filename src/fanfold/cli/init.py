"""``fanfold init``."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from fanfold import __version__
from fanfold.init import create

_NEXT = """
  cd {name}
  make test                    # its tests
  make replay                  # its saved messages, as Lambda's event source mapping would deliver them
  sam build                    # without a container
  sam deploy --config-env dev"""


def init(
    name: str = typer.Argument(metavar="NAME", help="Name of the project: its new folder, and its stacks."),
    job: bool = typer.Option(False, "--job", help="Make a job: scatter, work, fold. Without it: a consumer."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document instead of text."),
) -> None:
    """Make a new project from nothing: handler, template, tests, saved events, CI.

    It passes its own tests as it is. An existing folder is never touched.
    """
    folder = create(name, Path(), job=job, version=__version__)
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    if as_json:
        print(json.dumps({"folder": str(folder), "files": files}))
        return
    print(f"{folder}: a {'job' if job else 'consumer'} in {len(files)} files; README.md says what is where")
    print(_NEXT.format(name=name))
