"""The command line: ``fanfold`` and ``python -m fanfold``."""

from __future__ import annotations

import io
import os
import sys

_MISSING_EXTRA = (
    "fanfold: the command line needs an extra. Run: pip install 'fanfold[cli]', or 'fanfold[local]' for all commands"
)


def main() -> None:
    """Run the command line."""
    _escape_unencodable()
    _use_region()
    try:
        from fanfold.cli.app import app

        app()  # imports only the module of the command that runs
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        print(_MISSING_EXTRA, file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from error


def _use_region() -> None:
    """Let the AWS SDK for Python read ``AWS_REGION``, as the other AWS SDKs do: it reads ``AWS_DEFAULT_REGION``."""
    if region := os.environ.get("AWS_REGION"):
        os.environ.setdefault("AWS_DEFAULT_REGION", region)


def _escape_unencodable() -> None:
    """Escape characters that stdout cannot encode: on Windows, a file or a pipe has a small character set."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
