"""Environment variables from a file in the format of ``sam local invoke --env-vars``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fanfold.errors import ConfigurationError

GLOBAL: Final = "Parameters"
"""The key of variables for every function; those under a function's logical id take precedence."""
_EXAMPLE: Final = '{"Parameters": {"TABLE": "orders-test"}} or {"FUNCTION": {"TABLE": "orders-test"}}'


def read_env_vars(file: Path, function: str | None) -> dict[str, str]:
    """Return the variables that a file sets for a function.

    Args:
        file: A JSON object of objects: variables by the logical id of their function, or by ``Parameters``. Numbers and
            Booleans become strings, and null an empty string, as in SAM. (Source: AWS SAM developer guide, "Environment
            variable file".)
        function: The logical id of the function; None if it is not known: then the file may name one function only.

    Raises:
        ConfigurationError: If the file cannot be read, is not of that form, or has no variables for the function.
    """
    content = _read(file)
    functions = [name for name in content if name != GLOBAL]
    if function is None and len(functions) > 1:
        raise ConfigurationError(
            f"--env-vars {file} has variables for {', '.join(functions)}: select one with --template and --function"
        )
    name = (functions[0] if functions else None) if function is None else function.partition(".")[0]
    if name not in content and GLOBAL not in content:
        raise ConfigurationError(
            f"--env-vars {file} has no variables for {name or 'any function'}; its functions: "
            f"{', '.join(functions) or 'none'}"
        )
    return {**content.get(GLOBAL, {}), **content.get(str(name), {})}


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(f"--env-vars: file {file} does not exist") from None
    except OSError as error:
        raise ConfigurationError(f"--env-vars {file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--env-vars {file} is not JSON: {error}") from error
    if not isinstance(content, Mapping) or not all(isinstance(part, Mapping) for part in content.values()):
        raise ConfigurationError(f"--env-vars {file} is not in SAM's format, such as {_EXAMPLE}")
    return {
        str(name): {str(variable): _text(file, f"{name}.{variable}", value) for variable, value in part.items()}
        for name, part in content.items()
    }


def _text(file: Path, place: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigurationError(f"--env-vars {file}: {place} must be a string, a number, or a Boolean, not {value!r:.60}")
