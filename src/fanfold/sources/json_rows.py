"""The elements of one array in a JSON document, each as the text it has there, found while the document arrives.

Of what has arrived no more is held than the element that is not whole yet, or one window: what does not lead to the
array is passed over, large objects and arrays member by member. The whole document is looked at, and refused where it
is no JSON (RFC 8259; ``NaN`` and ``Infinity`` are none).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, TypeAlias

from fanfold.errors import SourceError

WINDOW: Final = 65_536
"""Characters that are waited for before an element that is not whole in them is taken for a large one."""
_NEAR_THE_END: Final = 16
"""An error this close to the end of what has arrived may be that the rest is missing: the longest literal and the
longest escape are shorter."""
_BLANK = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"[-+.0-9eE]*")
_INDEX = re.compile(r"0|[1-9][0-9]*")

_Steps: TypeAlias = Generator[str | None, None, None]
"""Yields rows, and None where more of the document is needed to go on."""


def tokens_of(pointer: str) -> tuple[str, ...]:
    """Return the steps of a JSON pointer (RFC 6901); the empty one has none.

    Raises:
        ValueError: If it is no JSON pointer.
    """
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"a JSON pointer is empty or begins with '/', as in '/data/rows', unlike {pointer!r}")
    if re.search("~(?![01])", pointer):
        raise ValueError(f"in a JSON pointer '~' is written '~0', and '/' inside a name '~1', unlike in {pointer!r}")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


class JsonRows:
    """Finds the elements of an array: feed it the document, and close it at its end.

    Args:
        name: What the document is called in errors.
        pointer: JSON pointer to the array; empty for a document that is the array.
        window: As ``WINDOW``, in characters.
    """

    def __init__(self, name: str, pointer: str = "", *, window: int = WINDOW) -> None:
        self._name = name
        self._pointer = pointer
        self._window = window
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder(parse_constant=_no_constant).raw_decode
        self._text = ""
        self._at = 0
        """Place in the text of what comes next."""
        self._before_bytes = 0
        """Bytes of the document before the text."""
        self._decoded_bytes = 0
        self._ended = False
        self._found = False
        self._steps = self._document(tokens_of(pointer))

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes of the document; yield the elements that are whole now, to be drawn before the next.

        Raises:
            SourceError: If the document is malformed; it names the byte.
        """
        try:
            more = self._decode.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            waiting = len(self._decode.getstate()[0])
            raise self._fault(self._decoded_bytes - waiting + error.start, f"no UTF-8: {error.reason}") from error
        self._decoded_bytes += len(data)
        self._before_bytes += len(self._text[: self._at].encode())
        self._text = self._text[self._at :] + more
        self._at = 0
        for row in self._steps:
            if row is None:
                return
            yield row

    def close(self) -> Iterator[str]:
        """Say that the document ends here; yield the elements that are whole now.

        Raises:
            SourceError: If the document is malformed or breaks off, or has no array at the pointer.
        """
        self._ended = True
        yield from self.feed(b"")

    def _document(self, tokens: Sequence[str]) -> _Steps:
        try:
            if (yield from self._next()) == "\ufeff":
                self._at += 1
            yield from self._toward(tokens)
            if (yield from self._next()):
                raise self._malformed("something follows the document")
        except RecursionError as error:
            raise self._malformed("nested too deeply") from error
        if not self._found:
            raise SourceError(f"{self._name} has nothing at {self._pointer!r}: check the pointer")

    def _toward(self, tokens: Sequence[str]) -> _Steps:
        """Pass over one value; yield the elements of the array that the steps lead to from there."""
        begins = yield from self._next()
        if not tokens and begins not in {"[", ""}:
            raise SourceError(
                f"{self._name} has no array at {self._pointer!r}, but what begins with {begins!r}: say where the array "
                "lies, as in pointer='/data/rows'"
            )
        if not tokens and begins:
            self._found = True
            yield from self._rows()
            return
        token, rest = (tokens[0], tokens[1:]) if tokens else ("", ())

        def member(name: str) -> _Steps:
            return self._toward(rest) if name == token and not self._found else self._over()

        if begins == "{":
            yield from self._object(member)
        elif begins == "[" and _INDEX.fullmatch(token):
            yield from self._array(member)
        else:
            yield from self._over()

    def _over(self) -> _Steps:
        """Pass over one value, whatever its size."""
        begins = yield from self._next()
        while len(self._text) - self._at < self._window and not self._ended:
            yield None
        stop = self._stop()
        if stop is not None:
            self._at = stop
        elif begins == "{":
            yield from self._object(lambda _: self._over())
        elif begins == "[":
            yield from self._array(lambda _: self._over())
        else:
            yield from self._whole()

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
                raise self._malformed("a ',' or ']' is missing")
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
                raise self._malformed("a name in quotes is missing")
            name = yield from self._whole()
            if (yield from self._next()) != ":":
                raise self._malformed("a ':' is missing")
            self._at += 1
            yield from member(json.loads(name))
            after = yield from self._next()
            if after not in {",", "}"}:
                raise self._malformed("a ',' or '}' is missing")
            self._at += 1
            if after == "}":
                return

    def _rows(self) -> _Steps:
        """Yield the elements of the array that comes next."""
        self._at += 1
        if (yield from self._next()) == "]":
            self._at += 1
            return
        after = ","
        while after != "]":
            if not self._peek():
                yield from self._next()
            text = yield from self._whole()
            if "\n" in text or "\r" in text:  # between values only: inside a text they are escaped
                text = text.replace("\n", " ").replace("\r", " ")
            yield text
            after = self._peek() or (yield from self._next())
            if after not in {",", "]"}:
                raise self._malformed("a ',' or ']' is missing")
            self._at += 1

    def _whole(self) -> Generator[None, None, str]:
        """Return the text of the value that comes next, however long it is, and pass over it."""
        while (stop := self._stop()) is None:
            wanted = 2 * (len(self._text) - self._at)  # so that a long value is looked at a few times, not once a piece
            while len(self._text) - self._at < wanted and not self._ended:
                yield None
        text = self._text[self._at : stop]
        self._at = stop
        return text

    def _next(self) -> Generator[None, None, str]:
        """Pass over blanks; return the character that comes next, empty at the end of the document."""
        while not (found := self._peek()) and not self._ended:
            yield None
        return found

    def _peek(self) -> str:
        """Pass over blanks; return the character that comes next, empty where no more has arrived."""
        self._at = _BLANK.match(self._text, self._at).end()  # type: ignore[union-attr] # none match too
        return self._text[self._at : self._at + 1]

    def _stop(self) -> int | None:
        """Return where the value that comes next stops; None if that has not arrived yet."""
        try:
            _, stop = self._scan(self._text, self._at)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or len(self._text) - error.pos <= _NEAR_THE_END
            if cut and not self._ended:
                return None
            raise self._fault(self._byte(error.pos), error.msg) from error
        except ValueError as error:
            raise self._malformed(str(error)) from error
        number_stops = _NUMBER.match(self._text, self._at).end()  # type: ignore[union-attr] # none match too
        return None if number_stops == len(self._text) and not self._ended else stop

    def _byte(self, place: int) -> int:
        return self._before_bytes + len(self._text[:place].encode())

    def _malformed(self, what: str) -> SourceError:
        return self._fault(self._byte(self._at), what if self._at < len(self._text) else f"{what}: it breaks off")

    def _fault(self, byte: int, what: str) -> SourceError:
        return SourceError(f"{self._name}: malformed JSON near byte {byte}: {what}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
