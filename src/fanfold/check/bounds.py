"""Refuse a template file that is nested too deeply or too large for the parsers, before they crash on it.

The parsers of YAML call themselves for each level of nesting. The interpreter then ends without an error message.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fanfold.errors import ConfigurationError

MAX_LEVELS: Final = 100
"""Levels of nesting. CloudFormation's resource types need about 20."""
MAX_VALUES: Final = 1_000_000
"""Values, with every alias replaced by its content. A template of 1 MB, the limit of CloudFormation, has fewer."""
_JSON: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def check_bounds(file: Path, text: str) -> None:
    """Raise if a file has more levels or more values than a template needs.

    Raises:
        ConfigurationError: If it has more than MAX_LEVELS levels, or more than MAX_VALUES values.
    """
    import yaml

    try:
        levels, values = _of_yaml(text)
    except (yaml.YAMLError, ValueError):  # JSON that is not YAML, such as JSON with tabs, or neither
        levels, values = _of_json(text), 0
    if levels > MAX_LEVELS:
        raise ConfigurationError(f"{file} is nested too deeply: more than {MAX_LEVELS} levels")
    if values > MAX_VALUES:
        raise ConfigurationError(f"{file} is too large: its aliases expand to more than {MAX_VALUES:,} values")


def _of_yaml(text: str) -> tuple[int, int]:
    """Return the levels and the values of a YAML text; stop as soon as one of them is out of bounds."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    sizes: list[int] = [0]
    anchors: dict[str, int] = {}
    names: list[str | None] = [None]
    levels = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            names.append(event.anchor)
            levels = max(levels, len(sizes) - 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, name = sizes.pop(), names.pop()
            sizes[-1] += size
            if name is not None:
                anchors[name] = size
        elif isinstance(event, yaml.AliasEvent):
            sizes[-1] += anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += 1
        if levels > MAX_LEVELS or sizes[-1] > MAX_VALUES:
            break
    return levels, sum(sizes)


def _of_json(text: str) -> int:
    """Return the levels of a JSON text: the largest number of open brackets outside strings."""
    level = levels = 0
    for match in _JSON.finditer(text):
        if match[0] in "[{":
            level += 1
            levels = max(levels, level)
        elif match[0] in "]}":
            level -= 1
    return levels
