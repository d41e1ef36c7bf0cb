"""The command line: ``fanfold`` and ``python -m fanfold``."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line."""
    _escape_unencodable()
    try:
        from fanfold.cli.app import app

        app()  # imports only the module of the command that runs
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        print("fanfold: the command line needs an extra. Run: pip install 'fanfold[cli]'", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from error


def _escape_unencodable() -> None:
    """Escape characters that stdout cannot encode: on Windows, a file or a pipe has a small character set."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
