"""A table as an Excel sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanfold.errors import ConfigurationError, MissingExtraError

__all__ = ["write_sheet"]


def write_sheet(file: Path, rows: Mapping[str, Mapping[str, Any]], *, key: str, sheet: str) -> None:
    """Write a table to a new Excel file: a header, then a row for each key.

    Raises:
        MissingExtraError: If xlsxwriter is not installed.
        ConfigurationError: If the file cannot be written.
    """
    try:
        import xlsxwriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("excel", "writing an Excel sheet") from error
    columns = list(next(iter(rows.values()), {}))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with xlsxwriter.Workbook(str(file)) as workbook:
            bold = workbook.add_format({"bold": True})
            page = workbook.add_worksheet(sheet)
            page.write_row(0, 0, [key, *columns], bold)
            for number, (name, row) in enumerate(rows.items(), 1):
                page.write_row(number, 0, [name, *(row[column] for column in columns)])
            page.autofit()
    except (OSError, xlsxwriter.exceptions.FileCreateError) as error:
        raise ConfigurationError(f"cannot write {file}: {error}") from error
