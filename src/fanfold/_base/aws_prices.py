"""AWS's prices: the one place where ``prices.json`` is read, or a file of that form."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from fanfold.errors import ConfigurationError


def read_prices(file: Path | None = None) -> Any:
    """Return prices, US dollars, with their region and date.

    Args:
        file: A file in the form of ``fanfold/_base/prices.json``; None for that file itself.

    Raises:
        ConfigurationError: If the file cannot be read, or is not JSON.
    """
    try:
        return json.loads((file or files("fanfold._base") / "prices.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--prices {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{file}: these are no prices, {type(error).__name__}: {error}") from error
