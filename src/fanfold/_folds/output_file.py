"""A file as the output of a run, which a fold may return instead of a JSON value."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanfold.errors import ConfigurationError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RESERVED: Final = frozenset({"bad-rows.jsonl", "failures.json", "fold-failure.json", "markers.json", "output.json"})
"""Names of other objects in the folder of an output."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a fold returns.

    It is committed once, next to the run's output, which refers to it: ``{"file": key, "bytes": …, "rows": …}``.

    Raises:
        ConfigurationError: If the name is invalid or reserved.
    """

    content: Path | str | bytes
    """The path of the file, or its bytes."""
    name: str
    """The name: at most 128 letters, digits, '.', '_', and '-', such as ``members.csv``."""
    content_type: str = "application/octet-stream"
    """The media type, as in HTTP."""
    rows: int | None = None
    """The number of rows; None if it is unknown or the file has no rows."""
    temporary: bool = False
    """True if the local file is deleted after the commit, even if the commit fails."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise ConfigurationError(
                f"an output file cannot be named {self.name!r}: use at most 128 letters, digits, '.', '_', and '-', "
                f"starting with a letter or digit, and none of {', '.join(sorted(_RESERVED))}"
            )

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield the path of the file; a temporary file is deleted at the end of the ``with`` block."""
        path, temporary = self.content, self.temporary
        if isinstance(path, bytes):
            data, path, temporary = path, temporary_file(), True
            path.write_bytes(data)
        try:
            yield Path(path)
        finally:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(path)  # noqa: PTH108 - a string or a path


def temporary_file() -> Path:
    """Return a new, empty file; the caller must delete it."""
    import tempfile  # imported here to keep cold starts short

    handle, name = tempfile.mkstemp(prefix="fanfold-")
    os.close(handle)
    return Path(name)
