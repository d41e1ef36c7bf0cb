"""The settings of ``S3Lines``: their checks, and what they mean for one key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanfold.errors import ConfigurationError
from fanfold.sources.bad_rows import check_on_bad_row
from fanfold.sources.compression import (
    COMPRESSIONS,
    MAX_DECOMPRESSED_BYTES,
    check_compression,
    check_sizes,
    compression_of,
)
from fanfold.sources.csv_header import Declared
from fanfold.sources.csv_rows import RowLines
from fanfold.sources.lines import MAX_LINE_BYTES
from fanfold.sources.rows import DELIMITERS, FORMATS
from fanfold.sources.text_encoding import CUTTABLE, UTF_8, check_encoding

_STORE: Final = "store it uncompressed, or as .gz, .bz2, or .zst"
_UNREADABLE: Final = {
    **dict.fromkeys((".xz", ".zip", ".7z", ".lz4", ".snappy"), _STORE),
    ".parquet": "use S3Parquet",
    ".xlsx": "save it as CSV",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSettings:
    """How the objects of a source are read; ``S3Lines`` documents the fields.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    format: str | None
    """The format."""
    delimiter: str | None
    """The delimiter of CSV; None to derive it from the key."""
    quotechar: str | None
    """The quote character of CSV; None if there is none."""
    encoding: str
    """The encoding."""
    columns: Sequence[str] | None
    """The columns of CSV; None for those of the header."""
    header: bool | None
    """True if CSV begins with a header, False if not; None to derive it."""
    quoted_newlines: bool | None
    """True if rows of CSV may span lines, False if not; None if it is unknown."""
    compression: str | None
    """The compression; None to derive it from the key."""
    on_bad_row: str
    """``fail`` or ``collect``."""
    max_bad_rows: float | None
    """Maximum of bad rows."""
    decimals: bool = False
    """True if JSON numbers with a fraction or an exponent are decimals."""
    max_line_bytes: int = MAX_LINE_BYTES
    """Maximum length of a line."""
    max_decompressed_bytes: int = MAX_DECOMPRESSED_BYTES
    """Maximum size of a compressed object when decompressed."""

    def __post_init__(self) -> None:
        _check(
            self.format in (None, *FORMATS.values()), f"format must be 'csv', 'jsonl', or 'text', not {self.format!r}"
        )
        for name, letter in (("delimiter", self.delimiter), ("quotechar", self.quotechar)):
            is_letter = isinstance(letter, str) and len(letter) == 1 and letter not in "\r\n"
            _check(letter is None or is_letter, f"{name} must be one character, or None, not {letter!r}")
        _check((self.delimiter or ",") != self.quotechar, "delimiter and quotechar must differ")
        for name, flag in (("header", self.header), ("quoted_newlines", self.quoted_newlines)):
            _check(flag is None or isinstance(flag, bool), f"{name} must be True, False, or None, not {flag!r}")
        if self.columns is not None:
            columns = self.columns
            is_names = isinstance(columns, list | tuple) and columns and all(isinstance(name, str) for name in columns)
            _check(bool(is_names), f"columns must be a list of one or more names, not {columns!r}")
            _check(len(set(columns)) == len(columns), f"columns contains a name twice: {list(columns)!r}")
        _check(self.header is not False or self.columns is not None, "header=False requires columns=[…]")
        check_compression("S3Lines", self.compression)
        sizes = {"max_line_bytes": self.max_line_bytes, "max_decompressed_bytes": self.max_decompressed_bytes}
        check_sizes("S3Lines", **sizes)
        _check(isinstance(self.decimals, bool), f"decimals must be True or False, not {self.decimals!r}")
        is_json = self.format in {None, "jsonl"}
        _check(is_json or not self.decimals, f"decimals=True is for the format 'jsonl', not {self.format!r}")
        if self.format in {"jsonl", "text"}:
            _check_not_csv(self)
        object.__setattr__(self, "encoding", check_encoding(self.encoding))
        for name, letter in (("delimiter", self.delimiter), ("quotechar", self.quotechar)):
            exists = not letter or letter.encode(self.encoding, "ignore")
            _check(bool(exists), f"{name} {letter!r} does not exist in encoding {self.encoding}")
        check_on_bad_row("S3Lines", self.on_bad_row, self.max_bad_rows)

    def format_of(self, key: str) -> str:
        """Return the format of an object.

        Raises:
            ConfigurationError: If it cannot be derived from the key, or the key's suffix is that of another format.
        """
        for ending, fix in _UNREADABLE.items():
            _check(not key.lower().endswith(ending), f"{key} cannot be read as lines: {fix}")
        if self.format is not None:
            return self.format
        if suffix := _suffix_of(key):
            return FORMATS[suffix]
        raise ConfigurationError(f"S3Lines: the format of {key!r} is unknown: specify format='csv', 'jsonl', or 'text'")

    def compression_of(self, key: str, content_encoding: str | None, name: str) -> str | None:
        """Return the compression of an object; None without compression.

        Raises:
            SourceError: If its content encoding is unknown.
        """
        return compression_of(key, content_encoding, self.compression, name)

    def declared(self, key: str) -> Declared:
        """Return the declaration of a CSV object."""
        delimiter = self.delimiter or DELIMITERS.get(_suffix_of(key) or "", ",")
        _check(
            delimiter != self.quotechar, f"quotechar={self.quotechar!r} is the delimiter of {key}: specify delimiter="
        )
        return Declared(
            delimiter=delimiter,
            is_default=self.delimiter is None,
            quotechar=self.quotechar,
            encoding=self.content_encoding,
            columns=self.columns,
            header=self.header,
        )

    @property
    def is_cuttable(self) -> bool:
        """True if uncompressed objects can be cut at any line end."""
        return self.encoding in CUTTABLE

    @property
    def content_encoding(self) -> str:
        """The encoding in which lines are parsed: text that cannot be cut is converted to UTF-8 as it is read."""
        return self.encoding if self.is_cuttable else UTF_8

    @property
    def row_lines(self) -> RowLines:
        """How rows relate to lines in a CSV object that is cut without reading it."""
        return RowLines.LINES if self.quoted_newlines is False or self.quotechar is None else RowLines.UNKNOWN

    def part_settings(self, form: str) -> dict[str, Any]:
        """Return the settings that each part of an object of a format contains, except the CSV dialect."""
        settings: dict[str, Any] = {}
        if self.content_encoding != UTF_8:
            settings["encoding"] = self.content_encoding
        if self.on_bad_row == "collect":
            settings["on_bad_row"] = "collect"
        if form == "jsonl" and self.decimals:
            settings["decimals"] = True
        if self.max_line_bytes != MAX_LINE_BYTES:
            settings["max_line_bytes"] = self.max_line_bytes
        if self.max_decompressed_bytes != MAX_DECOMPRESSED_BYTES:
            settings["max_decompressed_bytes"] = self.max_decompressed_bytes
        if form == "csv":
            settings["rows"] = str(self.row_lines)
        return settings


def _check_not_csv(settings: LineSettings) -> None:
    for name in ("delimiter", "columns", "header", "quoted_newlines"):
        is_set = getattr(settings, name) is not None
        _check(not is_set, f"{name}= is for CSV, not for format {settings.format!r}")


def _suffix_of(key: str) -> str | None:
    """Return the suffix of a key that names its format, before that of a compression; None if there is none."""
    uncompressed = key.lower()
    for suffix in COMPRESSIONS:
        uncompressed = uncompressed.removesuffix(suffix)
    return next((suffix for suffix in FORMATS if uncompressed.endswith(suffix)), None)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(f"S3Lines: {message}")
