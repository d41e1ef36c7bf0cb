"""One row longer than 128 KB, across the cuts of a file: how much of the file is read, by fanfold and by Lithops.

::

    python benchmarks/long_row.py [--row-bytes 400000] [--json FILE]

Lithops is no dependency of fanfold's: `pip install lithops` puts it beside, or the script runs without it. It reads a
local file with its local executor; fanfold reads the same bytes from a store in this process.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

from machine import about_this_run, options_parser, positive, publish
from fanfold import S3Lines, inmemory
from fanfold.sources import cut, read_each

CHUNK_BYTES = 100_000


async def by_fanfold(data: bytes) -> list[int]:
    """Return the bytes of the lines that each segment reads, their line ends included."""
    backend = inmemory.backend()
    backend.store.fill("bucket", {"rows.txt": data})  # type: ignore[attr-defined] # the store in this process
    plan = await S3Lines("bucket", "rows.txt", chunk_bytes=CHUNK_BYTES).pin(backend, "runs/long-row")
    return [sum([len(line) + 1 async for line in read_each(part, backend)]) for part in cut(plan)]


def by_lithops(file: Path) -> list[int]:
    """Return the bytes that each of Lithops' calls gets to read."""
    import lithops  # type: ignore[import-not-found]

    local = {"lithops": {"backend": "localhost", "storage": "localhost"}}
    executor = lithops.FunctionExecutor(config=local, log_level="ERROR")
    executor.map(lambda obj: len(obj.data_stream.read()), [str(file)], obj_chunk_size=CHUNK_BYTES)
    return list(executor.get_result())


def main() -> None:
    """Run both and print the table."""
    parser = options_parser("See whether a long row across the cuts of a file is read whole.")
    parser.add_argument("--row-bytes", type=positive, default=400_000, help="length of the row (%(default)s)")
    options = parser.parse_args()
    # Lithops starts a process by the name `python`, which has to be this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    data = b"a\n" + b"b\n" * 10 + b"x" * options.row_bytes + b"\n" + b"c\n" * 10
    peers: dict[str, list[int]] = {"fanfold": anyio.run(by_fanfold, data)}
    installed = importlib.util.find_spec("lithops") is not None
    if installed:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.txt"
            file.write_bytes(data)
            peers["Lithops"] = by_lithops(file)
    rows: list[dict[str, Any]] = [
        {"peer": peer, "bytes in the file": len(data), "bytes read": sum(parts), "parts": len(parts)}
        for peer, parts in peers.items()
    ]
    publish(about_this_run(*(["lithops"] if installed else [])), rows, options.json)


if __name__ == "__main__":
    main()
