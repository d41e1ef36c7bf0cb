"""Find the elements of one array in a JSON document, as their original text, while the document is read.

Memory holds only the current incomplete element, or one window: values outside the array are skipped, large objects
and arrays member by member. An element or a skipped string has a maximum length. The whole document is validated, and
refused if it is not JSON (RFC 8259, which excludes ``NaN`` and ``Infinity``).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, TypeAlias

from fanfold.errors import SourceError

MAX_ROW_BYTES: Final = 16_777_216
"""Default of the maximum length of an element: 16 MiB. Parsing it takes several times its length of memory."""
WINDOW: Final = 65_536
"""Characters to buffer before an incomplete element is treated as a large one."""
_LOOKAHEAD: Final = 16
"""An error within this distance of the end of the buffer may mean that more input is needed: the longest literal and
the longest escape sequence are shorter."""
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"[-+.0-9eE]*")
_INDEX = re.compile(r"0|[1-9][0-9]*")

_Steps: TypeAlias = Generator[str | None, None, None]
"""Yields rows, and None if more input is needed."""


def tokens_of(pointer: str) -> tuple[str, ...]:
    """Return the reference tokens of a JSON pointer (RFC 6901); an empty pointer has none.

    Raises:
        ValueError: If it is not a JSON pointer.
    """
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"a JSON pointer must be empty or begin with '/', such as '/data/rows', not {pointer!r}")
    if re.search("~(?![01])", pointer):
        raise ValueError(f"in the JSON pointer {pointer!r}, write '~0' for '~', and '~1' for '/' in a name")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


class JsonRows:
    """A parser that finds the elements of an array: feed it the document, then close it.

    Args:
        name: The name of the document in errors.
        pointer: JSON pointer to the array; empty if the document itself is the array.
        window: As ``WINDOW``, in characters.
        max_row_bytes: Maximum length of an element, and of a skipped string in characters.
    """

    def __init__(
        self, name: str, pointer: str = "", *, window: int = WINDOW, max_row_bytes: int = MAX_ROW_BYTES
    ) -> None:
        self._name = name
        self._pointer = pointer
        self._window = window
        self._max_row_bytes = max_row_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder(parse_constant=_no_constant).raw_decode
        self._text = ""
        self._at = 0
        """Index of the next character in the buffered text."""
        self._before_bytes = 0
        """Bytes of the document before the buffered text."""
        self._decoded_bytes = 0
        self._ended = False
        self._array_found = False
        self._steps = self._document(tokens_of(pointer))

    def feed(self, data: bytes) -> Iterator[str]:
        """Add bytes of the document; yield the elements that are now complete. Exhaust it before the next call.

        Raises:
            SourceError: If the document is malformed; the error states the byte.
        """
        try:
            more = self._decode.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            undecoded = len(self._decode.getstate()[0])
            raise self._fault(self._decoded_bytes - undecoded + error.start, f"not UTF-8: {error.reason}") from error
        self._decoded_bytes += len(data)
        self._before_bytes += len(self._text[: self._at].encode())
        self._text = self._text[self._at :] + more
        self._at = 0
        for row in self._steps:
            if row is None:
                return
            yield row

    def close(self) -> Iterator[str]:
        """End the document; yield the remaining elements.

        Raises:
            SourceError: If the document is malformed or truncated, or has no array at the pointer.
        """
        self._ended = True
        yield from self.feed(b"")

    def _document(self, tokens: Sequence[str]) -> _Steps:
        try:
            if (yield from self._next()) == "\ufeff":
                self._at += 1
            yield from self._follow(tokens)
            if (yield from self._next()):
                raise self._malformed("unexpected data after the document")
        except RecursionError as error:
            raise self._malformed("nested too deeply") from error
        if not self._array_found:
            raise SourceError(f"{self._name} has no value at {self._pointer!r}: check the pointer")

    def _follow(self, tokens: Sequence[str]) -> _Steps:
        """Skip one value; yield the elements of the array to which the tokens lead from there."""
        first = yield from self._next()
        if not tokens and first not in {"[", ""}:
            raise SourceError(
                f"{self._name} has no array at {self._pointer!r}, but a value that begins with {first!r}: specify "
                "pointer= with the path of the array, such as pointer='/data/rows'"
            )
        if not tokens and first:
            self._array_found = True
            yield from self._rows()
            return
        token, rest = (tokens[0], tokens[1:]) if tokens else ("", ())
        is_followed = False

        def member(name: str) -> _Steps:
            nonlocal is_followed
            if name != token:
                return self._skip()
            if is_followed:
                raise self._malformed(f"two members are named {name!r}, which is in the pointer")
            is_followed = True
            return self._follow(rest)

        if first == "{":
            yield from self._object(member)
        elif first == "[" and _INDEX.fullmatch(token):
            yield from self._array(member)
        else:
            yield from self._skip()

    def _skip(self) -> _Steps:
        """Skip one value of any size."""
        first = yield from self._next()
        while len(self._text) - self._at < self._window and not self._ended:
            yield None
        stop = self._stop()
        if stop is not None:
            self._at = stop
        elif first == "{":
            yield from self._object(lambda _: self._skip())
        elif first == "[":
            yield from self._array(lambda _: self._skip())
        else:
            yield from self._value_text()

    def _array(self, member: Callable[[str], _Steps]) -> _Steps:
        self._at += 1
        number = 0
        if (yield from self._next()) == "]":
            self._at += 1
            return
        while True:
            yield from member(str(number))
            number += 1
            after = yield from self._next()
            if after not in {",", "]"}:
                raise self._malformed("expected ',' or ']'")
            self._at += 1
            if after == "]":
                return

    def _object(self, member: Callable[[str], _Steps]) -> _Steps:
        self._at += 1
        if (yield from self._next()) == "}":
            self._at += 1
            return
        while True:
            if (yield from self._next()) != '"':
                raise self._malformed("expected a name in quotes")
            name = yield from self._value_text()
            if (yield from self._next()) != ":":
                raise self._malformed("expected ':'")
            self._at += 1
            yield from member(json.loads(name))
            after = yield from self._next()
            if after not in {",", "}"}:
                raise self._malformed("expected ',' or '}'")
            self._at += 1
            if after == "}":
                return

    def _rows(self) -> _Steps:
        """Yield the elements of the next array."""
        self._at += 1
        if (yield from self._next()) == "]":
            self._at += 1
            return
        after = ","
        while after != "]":
            if not self._peek():
                yield from self._next()
            begin = self._at
            text = yield from self._value_text()
            if 4 * len(text) > self._max_row_bytes and len(text.encode()) > self._max_row_bytes:
                raise self._too_long(begin)
            if "\n" in text or "\r" in text:  # only between values: in a string they are escaped
                text = text.replace("\n", " ").replace("\r", " ")
            yield text
            after = self._peek() or (yield from self._next())
            if after not in {",", "]"}:
                raise self._malformed("expected ',' or ']'")
            self._at += 1

    def _value_text(self) -> Generator[None, None, str]:
        """Consume the next value of any length, and return its text."""
        while (stop := self._stop()) is None:
            buffered = len(self._text) - self._at
            if buffered > self._max_row_bytes:
                raise self._too_long(self._at)
            # Doubling, so that a long value is parsed only a few times.
            needed = min(2 * buffered, self._max_row_bytes + 1)
            while len(self._text) - self._at < needed and not self._ended:
                yield None
        text = self._text[self._at : stop]
        self._at = stop
        return text

    def _next(self) -> Generator[None, None, str]:
        """Skip whitespace; return the next character, or an empty string at the end of the document."""
        while not (character := self._peek()) and not self._ended:
            yield None
        return character

    def _peek(self) -> str:
        """Skip whitespace; return the next character, or an empty string at the end of the buffer."""
        self._at = _WHITESPACE.match(self._text, self._at).end()  # type: ignore[union-attr] # the pattern matches the empty string
        return self._text[self._at : self._at + 1]

    def _stop(self) -> int | None:
        """Return the index after the next value; None if the value is incomplete."""
        try:
            _, stop = self._scan(self._text, self._at)
        except json.JSONDecodeError as error:
            may_be_incomplete = error.msg.startswith("Unterminated string") or len(self._text) - error.pos <= _LOOKAHEAD
            if may_be_incomplete and not self._ended:
                return None
            raise self._fault(self._byte(error.pos), error.msg) from error
        except ValueError as error:
            raise self._malformed(str(error)) from error
        number_stops = _NUMBER.match(self._text, self._at).end()  # type: ignore[union-attr] # the pattern matches the empty string
        return None if number_stops == len(self._text) and not self._ended else stop

    def _byte(self, index: int) -> int:
        return self._before_bytes + len(self._text[:index].encode())

    def _malformed(self, problem: str) -> SourceError:
        at_end = self._at >= len(self._text)
        return self._fault(self._byte(self._at), f"{problem}, but the document ends" if at_end else problem)

    def _too_long(self, index: int) -> SourceError:
        return SourceError(
            f"{self._name}: the value at byte {self._byte(index)} is longer than {self._max_row_bytes:,} bytes: if "
            "that is right, raise max_row_bytes"
        )

    def _fault(self, byte: int, problem: str) -> SourceError:
        return SourceError(f"{self._name}: malformed JSON near byte {byte}: {problem}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")
