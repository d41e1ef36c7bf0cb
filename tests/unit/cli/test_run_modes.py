"""The options of ``fanfold run`` that go together."""

import pytest

from fanfold.cli.run_modes import MODES, mode_of
from fanfold.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ([], ""),
        (["--params", "--run", "--within", "--json"], ""),
        (["--state-machine", "--run", "--within"], "--state-machine"),
        (["--inline", "--run", "--only", "--concurrency", "--output", "--json"], "--inline"),
        (["--dry-run", "--params", "--read-first", "--timeout", "--batch-size"], "--dry-run"),
    ],
)
def test_the_options_choose_the_mode(options: list[str], mode: str):
    """Options of the mode, and options of all modes, are accepted."""
    assert mode_of(options) == mode
    assert mode in MODES


@pytest.mark.parametrize(
    ("options", "line"),
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
                "or use --inline instead of --dry-run"
            ),
        ),
        (["--dry-run", "--run"], "--dry-run and --run do not go together: leave out --run, or --dry-run"),
        (["--inline", "--within"], "--inline and --within do not go together: leave out --within, or --inline"),
        (
            ["--state-machine", "--timeout"],
            (
                "--state-machine and --timeout do not go together: leave out --timeout, "
                "or use --dry-run instead of --state-machine"
            ),
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_line(options: list[str], line: str):
    """It names them, and the fix."""
    with pytest.raises(ConfigurationError) as error:
        mode_of(options)
    assert str(error.value) == line
