"""The modes of ``fanfold run``, and the options of each mode."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fanfold.errors import ConfigurationError

MODES: Final = ("", "--state-machine", "--inline", "--dry-run")
"""The options that choose a mode. Without any of them, the run uses SQS."""
_MODES_OF: Final = {
    "--run": ("", "--state-machine", "--inline"),
    "--within": ("", "--state-machine"),
    "--only": ("--inline",),
    "--concurrency": ("--inline",),
    "--output": ("--inline",),
    "--read-first": ("--dry-run",),
    "--timeout": ("--dry-run",),
    "--batch-size": ("--dry-run",),
}
"""By option: the modes it belongs to. All other options belong to every mode."""


def mode_of(options: Collection[str]) -> str:
    """Return the mode that the options choose.

    Raises:
        ConfigurationError: If they choose two modes, or an option does not belong to the mode.
    """
    chosen = [mode for mode in MODES if mode in options]
    if len(chosen) > 1:
        raise ConfigurationError(f"{_and(chosen)} do not go together: choose one of them")
    mode = chosen[0] if chosen else ""
    for modes in dict.fromkeys(_MODES_OF.values()):
        misplaced = [option for option in _MODES_OF if option in options and _MODES_OF[option] == modes]
        if misplaced and mode not in modes:
            raise ConfigurationError(_refusal(misplaced, mode, modes))
    return mode


def _refusal(misplaced: list[str], mode: str, modes: Collection[str]) -> str:
    one = len(misplaced) == 1
    if not mode:
        need = "needs" if one else "need"
        return f"{_and(misplaced)} {need} {' or '.join(modes)}: add it, or leave {'it' if one else 'them'} out"
    alternative = mode if "" in modes else f"use {' or '.join(modes)} instead of {mode}"
    return f"{_and([mode, *misplaced])} do not go together: leave out {_and(misplaced)}, or {alternative}"


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
