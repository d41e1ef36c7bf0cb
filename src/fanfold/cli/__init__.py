"""The command line; ``fanfold --help`` teaches it."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from fanfold.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        print("fanfold: the command line needs an extra: pip install 'fanfold[cli]'", file=sys.stderr)
        raise SystemExit(2) from error
    run()
