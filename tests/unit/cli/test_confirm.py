"""Commands ask before they change something, if there is someone to ask."""

import io
import signal
import sys

import anyio
import pytest

from fanfold.cli.confirm import confirm
from fanfold.errors import FanfoldError


class Terminal(io.StringIO):
    """A text that a user types, or what a user sees."""

    def isatty(self) -> bool:
        return True


def screen(monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO) -> Terminal:
    """Return a user's screen, after connecting it and the keyboard to this process."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


@pytest.mark.parametrize(("typed", "continues"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_user_is_asked_on_a_terminal(monkeypatch, typed, continues):
    """Anything but yes, also the end of the input, changes nothing."""
    shown = screen(monkeypatch, Terminal(typed))
    if continues:
        confirm("Cancel run r-1?", yes=False)
    else:
        with pytest.raises(FanfoldError, match="nothing was changed"):
            confirm("Cancel run r-1?", yes=False)
    assert "Cancel run r-1? [y/N]" in shown.getvalue()


@pytest.mark.parametrize(("stdin", "yes"), [(io.StringIO("n\n"), False), (Terminal("n\n"), True)])
def test_a_script_and_a_user_who_has_decided_are_not_asked(monkeypatch, stdin, yes):
    """Without a terminal, or with --yes."""
    shown = screen(monkeypatch, stdin)
    confirm("Cancel run r-1?", yes=yes)
    assert shown.getvalue() == ""


class Interrupted(Terminal):
    """A keyboard on which the user presses Ctrl-C first."""

    def readline(self, *limits: int) -> str:
        signal.raise_signal(signal.SIGINT)
        return super().readline(*limits)


def test_ctrl_c_ends_the_question_also_inside_an_event_loop(monkeypatch):
    """The loop's handler of the signal would cancel its task only after the reply."""
    screen(monkeypatch, Interrupted("y\n"))

    async def ask() -> None:
        confirm("Send 3 messages?", yes=False)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(FanfoldError, match="nothing was changed"):
        anyio.run(ask)
    assert signal.getsignal(signal.SIGINT) is handler
