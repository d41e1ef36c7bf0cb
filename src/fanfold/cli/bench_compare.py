"""``fanfold bench compare``."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console

from fanfold.bench.compare import compare
from fanfold.bench.result import read_result
from fanfold.cli import options
from fanfold.cli.bench_show import show_comparison


def compare_results(first: options.Result, second: options.Result, as_json: options.Json = False) -> None:
    """Compare two results of 'fanfold bench', setting by setting: whether they agree, differ, or cannot tell.

    Ratios are those of the second to the first. A difference within the noise is none.
    """
    comparison = compare(read_result(first), read_result(second))
    if as_json:
        print(json.dumps(asdict(comparison)))
    else:
        show_comparison(comparison, Console())
