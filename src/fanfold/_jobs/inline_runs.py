"""The list of inline runs: the folders that they have stored, newest first."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from fanfold._jobs.inline import DATABASE_FILE
from fanfold._ports.run import RunState
from fanfold._ports.run_list import RunSummary
from fanfold.errors import ConfigurationError

INCOMPLETE: Final = "INCOMPLETE"
"""State of an inline run that was interrupted, or processed only some of its segments."""
UNREADABLE: Final = "UNREADABLE"
"""State of a run whose database cannot be read."""


def inline_runs(folder: Path) -> Iterator[RunSummary]:
    """Yield the inline runs in a folder, in any order.

    Raises:
        ConfigurationError: If the folder does not exist.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} does not exist, and so holds no inline runs: specify the --output of `fanfold run --inline` "
            "as --folder"
        )
    for database in folder.glob(f"*/{DATABASE_FILE}"):
        yield _summary_of(database)


def _summary_of(file: Path) -> RunSummary:
    name, created_at = file.parent.name, file.parent.stat().st_mtime
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as database:
            row = database.execute("SELECT document FROM run").fetchone()
            if row is None:
                return RunSummary(name, "", INCOMPLETE, created_at)
            run = json.loads(row[0])
            end = database.execute("SELECT state, ended_at FROM run_end").fetchone()
            (failed,) = database.execute("SELECT count(*) FROM failures").fetchone()
    except (sqlite3.Error, ValueError, UnicodeError) as error:
        is_running = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        return RunSummary(name, "", RunState.RUNNING if is_running else UNREADABLE, created_at)
    state, ended_at = end or (INCOMPLETE, None)
    return RunSummary(name, run["job"], state, run["created_at"], ended_at=ended_at, failed=failed)
