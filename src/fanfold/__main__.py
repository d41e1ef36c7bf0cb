"""The command line: ``fanfold`` and ``python -m fanfold``."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line."""
    _print_anything()
    try:
        from fanfold.cli.app import app

        app()  # imports a command's module when it is named
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        print("fanfold: the command line needs an extra: pip install 'fanfold[cli]'", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from error


def _print_anything() -> None:
    """Have characters escaped that stdout cannot show: on Windows, a file or a pipe takes few by itself."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
