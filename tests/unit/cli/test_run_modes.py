"""Which options of ``fanfold run`` go together."""

import pytest

from fanfold.cli.run_modes import MODES, mode_of
from fanfold.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ([], ""),
        (["--params", "--run", "--within", "--json"], ""),
        (["--state-machine", "--run", "--within"], "--state-machine"),
        (["--inline", "--run", "--only", "--concurrency", "--output", "--json"], "--inline"),
        (["--dry-run", "--params", "--read-first", "--timeout", "--batch-size"], "--dry-run"),
    ],
)
def test_the_options_choose_the_mode(given: list[str], mode: str):
    """Those that belong to it go with it, and those that belong to all."""
    assert mode_of(given) == mode
    assert mode in MODES


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--inline", "--dry-run"], "--inline and --dry-run do not go together: choose one of them"),
        (["--inline", "--state-machine"], "--state-machine and --inline do not go together: choose one of them"),
        (["--dry-run", "--state-machine"], "--state-machine and --dry-run do not go together: choose one of them"),
        (
            ["--inline", "--dry-run", "--state-machine"],
            "--state-machine, --inline and --dry-run do not go together: choose one of them",
        ),
        (["--only"], "--only needs --inline: add it, or leave it out"),
        (["--output", "--only"], "--only and --output need --inline: add it, or leave them out"),
        (["--batch-size", "--read-first"], "--read-first and --batch-size need --dry-run: add it, or leave them out"),
        (
            ["--dry-run", "--concurrency"],
            (
                "--dry-run and --concurrency do not go together: leave out --concurrency, "
                "or give --inline in place of --dry-run"
            ),
        ),
        (["--dry-run", "--run"], "--dry-run and --run do not go together: leave out --run, or --dry-run"),
        (["--inline", "--within"], "--inline and --within do not go together: leave out --within, or --inline"),
        (
            ["--state-machine", "--timeout"],
            (
                "--state-machine and --timeout do not go together: leave out --timeout, "
                "or give --dry-run in place of --state-machine"
            ),
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_line(given: list[str], line: str):
    """It names them, and what to do."""
    with pytest.raises(ConfigurationError) as error:
        mode_of(given)
    assert str(error.value) == line
