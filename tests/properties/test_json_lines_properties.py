"""JSON Lines: the file does not depend on where the results come from."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import folds
from fanfold._jobs.results import results_of
from fanfold._ports.ledger_encoding import results_from_json, results_from_list, results_to_json, results_to_list
from strategies import json_values


def written(results: Iterable[Any]) -> bytes:
    with folds.to_json_lines()(results).on_disk() as path:
        return path.read_bytes()


@given(st.lists(json_values(), max_size=5))
@settings(deadline=None)
def test_the_results_of_a_run_and_a_list_of_the_same_values_are_the_same_file(values):
    """Copying texts gives the bytes that encoding the values gives."""
    texts = [json.dumps(value, separators=(",", ":")) for value in values]
    with results_of(texts) as results:
        assert written(results) == written(values)


@given(st.lists(json_values(), max_size=5), st.sampled_from([None, 1]), st.booleans())
@settings(deadline=None)
def test_any_json_text_of_a_result_is_written_as_its_rows(values, indent, ascii_only):
    """White space and escapes do not change the rows."""
    texts = [json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in values]
    rows = [row for value in values for row in (value if isinstance(value, list) else [value])]
    with results_of(texts) as results:
        assert [json.loads(line) for line in written(results).splitlines()] == rows


@given(st.lists(json_values(), max_size=5), st.sampled_from([None, 1]), st.booleans())
@settings(deadline=None)
def test_results_are_read_from_the_ledger_as_they_were_written(values, indent, ascii_only):
    """As a list or by segment; a text on one line is not changed."""
    texts = [json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in values]
    by_segment = {3 * number: text for number, text in enumerate(texts)}
    for read in (
        results_from_list(results_to_list(texts), list(by_segment)),
        results_from_json(results_to_json(by_segment).encode()),
    ):
        assert {segment: json.loads(text) for segment, text in read.items()} == dict(
            zip(by_segment, values, strict=True)
        )
        assert all("\n" in text or read[segment] == text for segment, text in by_segment.items())
