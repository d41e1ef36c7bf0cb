"""Coverage traces tests that count: not the collection, not pytest, and no other test."""

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any

is_counted = False
"""True if the test that runs is counted."""
_tracers: Any = SimpleNamespace(here=None, in_threads=None)


def stop() -> None:
    """Import every module that coverage measures, whose top-level lines count, and trace nothing more."""
    if (tracer := sys.gettrace()) is None:
        return
    from coverage import Coverage

    measured = Coverage.current()
    for file in measured.config.run_include if measured else ():
        importlib.import_module(".".join(PurePath(file).with_suffix("").parts[1:]))
    _tracers.here, _tracers.in_threads = tracer, threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)


@contextmanager
def traced() -> Iterator[None]:
    """Trace during the block, if the test is counted."""
    if not is_counted or _tracers.here is None:
        yield
        return
    before, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(_tracers.here)
    threading.settrace(_tracers.in_threads)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(in_threads)
