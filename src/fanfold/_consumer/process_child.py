"""The program of a worker process: run the records that the consumer sends, one after another.

The consumer can stop it at any moment. SIGTERM raises ``Interrupted`` in the handler, if the record that it is meant
for still runs, so that its ``finally`` blocks run; SIGKILL follows. The process ends when the consumer's process ends,
even inside a regular expression: the kernel sends SIGKILL when the last writer of the life pipe has closed it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

import fanfold
from fanfold._base.context import BatchContext
from fanfold._base.import_string import last_line
from fanfold._base.log_context import RECORD_KEYS
from fanfold._base.outcome import Done, Failed
from fanfold._consumer import process_handlers
from fanfold._consumer.handler_names import HandlerName
from fanfold._consumer.process_calls import calls_of
from fanfold._consumer.process_values import UNSENT, context_of
from fanfold._consumer.process_wire import NOTHING, Messages, Page, encode
from fanfold._consumer.xray import continue_trace

_RECEIVE_BYTES = 1 << 18
_PROGRESS_SECONDS = 0.001
"""Least time between two reports of records that are done."""


_PLAIN_TYPES = frozenset({bool, bytes, float, int, str, type(None)})
"""Types of values that can be sent."""
_SENT = "fanfold_sent"
"""Attribute of log records that were sent."""


class Interrupted(BaseException):
    """Raised in a handler whose record has taken too long."""


def main(connection: str, page: str, life: str) -> None:
    """Run the process until its consumer closes the socket.

    Args:
        connection: Descriptor of the socket.
        page: Descriptor of the page.
        life: Descriptor of the pipe that the consumer's process keeps open.
    """
    sys.argv[1:] = []
    _die_with_parent(int(life))
    child = _Child(socket.socket(fileno=int(connection)), Page(int(page)))
    signal.signal(signal.SIGTERM, child.interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the consumer, which ends its processes
    hold = functools.partial(signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGTERM})
    release = functools.partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=child.forked)
    try:
        child.run()
    except Interrupted:  # after its handler had ended
        child.exit(128 + signal.SIGTERM)
    except (BrokenPipeError, ConnectionResetError):  # the consumer does not listen any more
        child.exit(1)
    except BaseException as error:  # noqa: BLE001 - ends now: an end in steps would look like a kill
        sys.excepthook(type(error), error, error.__traceback__)
        child.exit(1)


def _die_with_parent(life: int) -> None:
    """Let the kernel end this process group when the other end of a pipe is closed."""
    try:
        import fcntl

        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpid())  # its group: with the processes that the handler starts
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    except (ImportError, AttributeError, OSError):  # macOS: only between two bytecodes
        threading.Thread(target=lambda: (os.read(life, 1), os._exit(1)), daemon=True).start()


class _Child:
    def __init__(self, connection: socket.socket, page: Page) -> None:
        self._connection = connection
        self._page = page
        self._sending = threading.Lock()
        self._messages = self._received()
        self._reported_at = 0.0
        self._at = (0, NOTHING)
        self._trace: str | None = None
        self.is_fork: bool = False
        """True in a process that the handler has forked."""

    def interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """Raise ``Interrupted`` if the record that the signal is meant for runs."""
        target = self._page.target
        if target[1] != NOTHING and self._page.running[:2] == target:
            self._page.target = (NOTHING, NOTHING)  # once
            raise Interrupted

    def forked(self) -> None:
        """Continue as a process that the handler has forked: nothing of the consumer belongs to it."""
        self.is_fork = True
        self._sending = threading.Lock()  # another thread may hold it
        self._connection.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as for Process.terminate
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # held until now: Python forgets it at a fork

    def run(self) -> None:
        """Import the handler, and run frames."""
        setup = next(self._messages)
        try:
            self._prepare(setup)
        except BaseException as error:  # noqa: BLE001 - of the user's module
            self._send(("broken", last_line(error)))
            return
        self._send(("ready",))
        for kind, *values in self._messages:
            if kind == "batch":
                self._start_batch(*values)
            else:
                self._run_frame(*values)
        self._leave()

    def _prepare(self, setup: dict[str, Any]) -> None:
        logging.root.handlers[:] = [_Forwarding(self)]
        logging.root.setLevel(setup["log_level"])
        sys.stdout, sys.stderr = _lines_to(1), _lines_to(2)
        vars(fanfold).update(consumer=process_handlers.consumer, Consumer=process_handlers.Registered)
        name = HandlerName(*setup["handler"])
        importlib.import_module(name.module)
        _forward(self)
        self._calls = calls_of(name, setup["takes"], pickle.loads(setup["settings"]))  # noqa: S301 - from our parent
        self._state, self._leave = _enter(self._calls.lifespan)

    def _start_batch(self, shared: bytes | None, trace_id: str | None, keeps_values: bool) -> None:
        self._keeps_values = keeps_values
        self._invocation = trace_id
        lambda_context, deadline = context_of(shared)
        self._call = self._calls.bind(BatchContext(lambda_context, deadline, self._state))

    def _run_frame(self, frame: int, records: list[Any]) -> None:
        page = self._page
        for position, sent in enumerate(records):
            now = time.monotonic()
            self._at = (frame, position)
            page.run(frame, position, now)
            if (
                position >= page.limit or now >= page.stops_at
            ):  # after it is written: the consumer reads the opposite way
                self._end(frame, position)
                return
            message_id, content, subsegment = sent
            self._continue_trace(subsegment or self._invocation)
            token = RECORD_KEYS.set({"message_id": message_id})
            try:
                self._report(frame, position, self._outcome_of(message_id, content))
            finally:
                RECORD_KEYS.reset(token)
        self._end(frame, len(records))

    def _continue_trace(self, header: str | None) -> None:
        if header is not None and header != self._trace:
            self._trace = header
            continue_trace(header)

    def _outcome_of(self, message_id: str, content: Any) -> Any:
        value: Any = None
        try:
            value = self._call(message_id, content)
        except Interrupted:
            self.exit(128 + signal.SIGTERM)
        except BaseException as error:  # noqa: BLE001 - every failure is one of this record
            value = error
        if self.is_fork:
            self._end_fork(value)
        if value is None:
            return None
        try:
            return self._calls.outcome_of(value)
        except BaseException as error:  # noqa: BLE001 - a value of the user's that cannot be classified
            return Failed(error)

    def _report(self, frame: int, position: int, outcome: Any) -> None:
        if outcome is None or (isinstance(outcome, Done) and not self._keeps_values):
            self._page.set_done(position)
            if (now := time.monotonic()) - self._reported_at > _PROGRESS_SECONDS:
                self._reported_at = now
                self._send(("progress",))
        elif isinstance(outcome, Failed):
            self._send(("failed", frame, position, _portable(outcome.error)))
        else:
            try:
                message: tuple[object, ...] = ("outcome", frame, position, pickle.dumps(outcome, protocol=5))
            except BaseException as error:  # noqa: BLE001 - a value of the user's
                message = ("failed", frame, position, _portable(TypeError(UNSENT.format(last_line(error)))))
            self._send(message)

    def _end(self, frame: int, position: int) -> None:
        self._page.run(frame, NOTHING, 0.0)
        self._send(("end", frame, position))

    def _send(self, message: object) -> None:
        data = encode(message)
        with self._sending:
            self._connection.sendall(data)

    def send_log(self, fields: dict[str, Any]) -> None:
        """Send a log record of the record that runs."""
        self._send(("log", *self._at, fields))

    def _received(self) -> Iterator[Any]:
        messages = Messages()
        while data := self._connection.recv(_RECEIVE_BYTES):
            yield from map(pickle.loads, messages.feed(data))

    def _end_fork(self, value: object) -> None:
        """End a forked process as Python does, instead of running the consumer's records twice."""
        code: Any = None
        if isinstance(value, SystemExit):
            code = value.code
        elif isinstance(value, BaseException):
            code = "an error"
            sys.excepthook(type(value), value, value.__traceback__)
        self.exit(code if isinstance(code, int) else int(code is not None))

    def exit(self, code: int) -> None:
        """End the process after its output is written."""
        with contextlib.suppress(Exception):  # a handler may have closed them
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        os._exit(code)


class _Forwarding(logging.Handler):
    """Sends log records to the consumer, whose handlers format them."""

    def __init__(self, child: _Child) -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log record once. An error goes to stderr, as for every handler of ``logging``: the record goes on."""
        try:
            self._send(record)
        except Exception:  # noqa: BLE001 - such as a message whose arguments do not fit
            self.handleError(record)

    def _send(self, record: logging.LogRecord) -> None:
        """Send a log record, with its message and its traceback as text."""
        if getattr(record, _SENT, False):
            return  # by a logger below
        if self._child.is_fork:
            sys.stderr.write(f"{self.format(record)}\n")
            return
        fields = {**vars(record), "msg": record.getMessage(), "args": None}
        setattr(record, _SENT, True)
        if record.exc_info:
            fields["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        fields["exc_info"] = None
        self._child.send_log({key: _sendable(value) for key, value in fields.items()})


def _sendable(value: object) -> object:
    """Return a value of a log record, or its text if it cannot be sent: such as an error in ``extra``."""
    if type(value) in _PLAIN_TYPES:
        return value
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - from here
    except Exception:  # noqa: BLE001 - a value of the user's
        return _text(value)
    return value


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a value of the user's
        return object.__repr__(value)


def _forward(child: _Child) -> None:
    """Replace log handlers that the handler's module has created for the console: the consumer's process has them, too.

    Among them are those of Powertools, whose keys the consumer's process knows.
    """
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger) and any(map(_writes_to_console, logger.handlers)):
            kept = [handler for handler in logger.handlers if not _writes_to_console(handler)]
            logger.handlers = [*kept, _Forwarding(child)]  # Powertools keeps its records from the root's


def _writes_to_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return type(handler) is logging.StreamHandler and stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}


def _portable(error: BaseException) -> tuple[bytes | None, str, str]:
    """Return an error pickled, its type with its text, and its traceback; None in place of what cannot be unpickled."""
    from fanfold._base.error_text import error_text  # not in a process without an error

    text, stack = last_line(error), error_text(error)
    try:
        pickled = pickle.dumps(error, protocol=5)
        if type(pickle.loads(pickled)) is not type(error):  # noqa: S301 - from here
            return None, text, stack
    except BaseException:  # noqa: BLE001 - an error of the user's
        return None, text, stack
    return pickled, text, stack


def _lines_to(descriptor: int) -> TextIO:
    """Return a stream that writes whole lines, so that those of several processes do not mix."""
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _enter(lifespan: Callable[[], Any] | None) -> tuple[Any, Callable[[], object]]:
    """Enter a lifespan, for the life of this process; return its value, and what leaves it."""
    if lifespan is None:
        return None, int
    import asyncio

    loop, manager = asyncio.new_event_loop(), lifespan()
    asyncio.set_event_loop(loop)
    state = loop.run_until_complete(manager.__aenter__())
    return state, lambda: loop.run_until_complete(manager.__aexit__(None, None, None))
