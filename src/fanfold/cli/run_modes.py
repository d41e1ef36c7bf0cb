"""The ways to run a job, which options each takes, and which do not go together."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fanfold.errors import ConfigurationError

MODES: Final = ("", "--state-machine", "--inline", "--dry-run")
"""The options that choose one; without any, a run by SQS."""
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
"""By option: the modes it belongs to; one that is not here belongs to all."""


def mode_of(given: Collection[str]) -> str:
    """Return the mode that the options choose.

    Raises:
        ConfigurationError: If they choose two, or there is one that does not belong to it.
    """
    chosen = [mode for mode in MODES if mode in given]
    if len(chosen) > 1:
        raise ConfigurationError(f"{_and(chosen)} do not go together: choose one of them")
    mode = chosen[0] if chosen else ""
    for modes in dict.fromkeys(_MODES_OF.values()):
        strangers = [option for option in _MODES_OF if option in given and _MODES_OF[option] == modes]
        if strangers and mode not in modes:
            raise ConfigurationError(_refusal(strangers, mode, modes))
    return mode


def _refusal(strangers: list[str], mode: str, modes: Collection[str]) -> str:
    one = len(strangers) == 1
    if not mode:
        need = "needs" if one else "need"
        return f"{_and(strangers)} {need} {' or '.join(modes)}: add it, or leave {'it' if one else 'them'} out"
    way_out = mode if "" in modes else f"give {' or '.join(modes)} in place of {mode}"
    return f"{_and([mode, *strangers])} do not go together: leave out {_and(strangers)}, or {way_out}"


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
