"""AWS prices, read from ``prices.json`` or a file in the same format."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from fanfold.errors import ConfigurationError


def read_prices(file: Path | None = None) -> Any:
    """Return prices in US dollars, with their region and date.

    Args:
        file: A file in the format of ``fanfold/_base/prices.json``; None for that file.

    Raises:
        ConfigurationError: If the file cannot be read or is not JSON.
    """
    try:
        return json.loads((file or files("fanfold._base") / "prices.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--prices {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"--prices {file} is not a JSON file: {type(error).__name__}: {error}") from error
