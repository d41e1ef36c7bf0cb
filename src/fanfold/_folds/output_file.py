"""A file as the output of a run: what a fold returns in place of a JSON value."""

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
_TAKEN: Final = frozenset({"failures.json", "fold-failure.json", "markers.json", "output.json"})
"""What else lies beside an output."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a fold returns.

    It is committed beside the run's output, once, and the output says where: ``{"file": key, "bytes": …, "rows": …}``.

    Raises:
        ConfigurationError: If the name is none for an object of a run.
    """

    content: Path | str | bytes
    """Where the file lies, or its bytes."""
    name: str
    """Its name: letters, digits, '.', '_' and '-', at most 128, such as ``members.csv``."""
    content_type: str = "application/octet-stream"
    """What it is, as in HTTP."""
    rows: int | None = None
    """Rows in it; None if it has none, or nobody counted."""
    temporary: bool = False
    """Whether the file is deleted from this machine once it is committed, or cannot be."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name in _TAKEN:
            raise ConfigurationError(
                f"an output file cannot be named {self.name!r}: use letters, digits, '.', '_' and '-', starting with a "
                f"letter or digit, and none of {', '.join(sorted(_TAKEN))}"
            )

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Give the path of the file while the block runs; a temporary one is deleted at the end."""
        path, temporary = self.content, self.temporary
        if isinstance(path, bytes):
            data, path, temporary = path, temporary_file(), True
            path.write_bytes(data)
        try:
            yield Path(path)
        finally:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(path)  # noqa: PTH108 - a text or a path


def temporary_file() -> Path:
    """Return a new, empty file; whoever asks for it deletes it."""
    import tempfile  # here: a cold start need not pay for what few folds want

    handle, name = tempfile.mkstemp(prefix="fanfold-")
    os.close(handle)
    return Path(name)
