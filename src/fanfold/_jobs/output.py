"""From the results of a run to its output: call the user's fold and commit its return value once."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fanfold._base.callables import is_coroutine_function
from fanfold._base.json_problems import has_colliding_keys, json_problem, place_of
from fanfold._base.log import logger
from fanfold._base.threads import Threads
from fanfold._folds.output_file import File
from fanfold._ports.backend import Backend
from fanfold.errors import ObjectExistsError, SegmentError

R = TypeVar("R")
_ROWS_NAME = "output.jsonl"


async def apply(function: Callable[[R], Any], results: R) -> Any:
    """Call a fold: an ``async def`` function on this event loop, a ``def`` function on a separate thread.

    Returns:
        The fold's return value; for a fold that yields rows, a ``File`` of JSON Lines.

    Raises:
        SegmentError: If it yields a row that is not a JSON value.
        Exception: Any error that the fold raises.
    """
    if inspect.isasyncgenfunction(function):
        from fanfold._folds.row_files import JsonLines  # imported here to keep cold starts short: few folds need it

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
    """Return the committed form of the return value of a fold or another function.

    Raises:
        SegmentError: If it is not a JSON value.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        collide = has_colliding_keys(value)
    except (TypeError, ValueError, RecursionError) as error:
        problem = None if isinstance(error, RecursionError) else json_problem(value)
        detail = error if problem is None else ": ".join(filter(None, [place_of(problem.path), problem.reason]))
        raise SegmentError(f"the {of} must return a JSON value: {detail}") from error
    if collide:
        raise SegmentError(f"the {of} must return a JSON value: a dict has two keys that are the same string in JSON")
    return text


async def commit(key: str, value: Any, backend: Backend) -> None:
    """Write an output unless its key exists: the first of several attempts wins.

    A file is written first, next to the output, which refers to it. A file from an earlier attempt is kept too.

    Raises:
        SegmentError: If the value is neither a JSON value nor a readable file.
        FanfoldError: If the store fails.
    """
    if isinstance(value, File):
        value = await _commit_file(f"{key.rpartition('/')[0]}/{value.name}", value, backend)
    try:
        await backend.put_result(key, to_json(value), if_absent=True)
    except ObjectExistsError:
        logger.info("%s was already committed by an earlier attempt; it is kept", key)


def file_reference(file: File, location: str, size_bytes: int) -> dict[str, Any]:
    """Return the reference to a file that an output contains; ``file_in`` reads it."""
    reference = {"file": location, "bytes": size_bytes}
    return reference if file.rows is None else {**reference, "rows": file.rows}


def file_in(output: Any, run_id: str) -> str | None:
    """Return the key of the file that an output refers to; None if the output is a plain value."""
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
            logger.info("%s was already written by an earlier attempt; it is kept", key)
            size = (await backend.store.head(bucket, key)).size_bytes
    return file_reference(file, key, size)
