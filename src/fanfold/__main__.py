"""The command line: ``fanfold`` and ``python -m fanfold``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from fanfold.cli.app import app

        app()  # imports only the module of the command that runs
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        print("fanfold: the command line needs an extra. Run: pip install 'fanfold[cli]'", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
