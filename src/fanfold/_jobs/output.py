"""From the results of a run to its one output: the user's fold is called, and what it returns is committed once."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fanfold._base.callables import is_coroutine_function
from fanfold._base.log import logger
from fanfold._base.threads import Threads
from fanfold._folds.output_file import File
from fanfold._ports.backend import Backend
from fanfold.errors import ObjectExistsError, SegmentError

R = TypeVar("R")
_ROWS_NAME = "output.jsonl"


async def apply(function: Callable[[R], Any], results: R) -> Any:
    """Call a fold: an async one on this event loop, a plain one on a thread of its own.

    Returns:
        What the fold returns; of one that yields rows, a ``File`` of JSON Lines.

    Raises:
        SegmentError: If it yields what is no JSON value.
        Exception: Whatever the fold raises.
    """
    if inspect.isasyncgenfunction(function):
        from fanfold._folds.row_files import JsonLines  # here: a cold start need not pay for what few folds want

        with JsonLines(_ROWS_NAME) as lines:
            async for row in function(results):
                lines.write(row)
            return lines.file()
    if is_coroutine_function(function):
        return await function(results)
    threads = Threads()
    try:
        return await threads.run(_drained, function, results)
    finally:
        threads.close()


def _drained(function: Callable[[R], Any], results: R) -> Any:
    value = function(results)
    if not inspect.isgenerator(value):
        return value
    from fanfold._folds.row_files import JsonLines  # as above

    with JsonLines(_ROWS_NAME) as lines:
        for row in value:
            lines.write(row)
        return lines.file()


def to_json(value: Any, of: str = "fold") -> bytes:
    """Return what a fold, or another function, returned, as it is committed.

    Raises:
        SegmentError: If it is no JSON value.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise SegmentError(f"the {of} returned what is no JSON value: {error}") from error


async def commit(key: str, value: Any, backend: Backend) -> None:
    """Write an output if there is none under its key yet: of several tries, the first stays.

    A file is written beside it, first, and the output says where; one that an earlier try wrote stays too.

    Raises:
        SegmentError: If the value is no JSON value, nor a file that is there.
        FanfoldError: If the store fails.
    """
    if isinstance(value, File):
        value = await _commit_file(f"{key.rpartition('/')[0]}/{value.name}", value, backend)
    try:
        await backend.put_result(key, to_json(value), if_absent=True)
    except ObjectExistsError:
        logger.info("%s was committed by an earlier try, and stays", key)


def file_reference(file: File, where: str, size_bytes: int) -> dict[str, Any]:
    """Return what an output says of a file that lies somewhere; ``file_in`` reads it."""
    told = {"file": where, "bytes": size_bytes}
    return told if file.rows is None else {**told, "rows": file.rows}


def file_in(output: Any, run_id: str) -> str | None:
    """Return the key of the file that an output of a run says it is; None for one that is a value itself."""
    if not isinstance(output, dict) or not {"file", "bytes"} <= output.keys() <= {"file", "bytes", "rows"}:
        return None
    key = output["file"]
    return key if isinstance(key, str) and key.startswith(f"runs/{run_id}/") else None


async def _commit_file(key: str, file: File, backend: Backend) -> dict[str, Any]:
    bucket = backend.results_bucket
    with file.on_disk() as path:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise SegmentError(f"the fold returned a file that cannot be read: {path}: {error.strerror}") from error
        try:
            await backend.store.put_file(bucket, key, path, content_type=file.content_type, if_absent=True)
        except ObjectExistsError:
            logger.info("%s was written by an earlier try, and stays", key)
            size = (await backend.store.head(bucket, key)).size_bytes
    return file_reference(file, key, size)
