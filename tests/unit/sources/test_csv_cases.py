"""CSV files as people have them are read as Python's csv module reads them, or refused with the setting that helps."""

import re

import pytest

from csv_cases import READ, REFUSED, Case, rows_by_csv
from fanfold import sources
from fanfold.errors import SourceError
from piece_store import PieceStore, plan_of, read_all, read_parts

WHOLE = 1_000_000
CUTS = [1, 7, 40]


def test_the_table_has_many_different_files():
    """Each is read whole and with three cuts, below."""
    cases = READ + REFUSED
    assert len({case.name for case in cases}) == len(cases) >= 100


@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
@pytest.mark.uncounted
async def test_a_file_is_read_as_by_csv_in_one_segment(case: Case):
    """With every row, in order, and every character."""
    assert await read_all(case.data, key=case.key, chunk_bytes=WHOLE, piece_bytes=11, **case.settings) == rows_by_csv(
        case
    )


@pytest.mark.parametrize("chunk_bytes", CUTS)
@pytest.mark.parametrize("case", READ, ids=lambda case: case.name)
async def test_a_file_that_is_cut_is_read_as_by_csv_or_refused(case: Case, chunk_bytes: int):
    """Refused are rows that span lines, or may do so, unless ``quoted_newlines`` declares whether they do."""
    store = PieceStore(case.data, piece_bytes=5)
    chunk_bytes *= 1 + len(case.data) // 1_000
    plan = await plan_of(store, key=case.key, chunk_bytes=chunk_bytes, **case.settings)
    if case.cut_refusal and len(list(sources.cut(plan))) > 1:
        with pytest.raises(SourceError, match=re.escape(case.cut_refusal)) as raised:
            await read_parts(store, plan)
        assert f"s3://bucket/{case.key}" in str(raised.value)
    else:
        assert await read_parts(store, plan) == rows_by_csv(case)


@pytest.mark.parametrize("chunk_bytes", [WHOLE, *CUTS])
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
async def test_a_file_that_is_not_as_declared_is_refused_with_the_setting_that_helps(case: Case, chunk_bytes: int):
    """In one segment or many; the error names the object."""
    with pytest.raises(SourceError) as raised:
        await read_all(case.data, key=case.key, chunk_bytes=chunk_bytes, **case.settings)
    message = str(raised.value)
    assert message.startswith(f"s3://bucket/{case.key}")
    assert any(text in message for text in {case.refusal, case.cut_refusal} - {""})
