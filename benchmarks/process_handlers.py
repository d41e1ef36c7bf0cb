"""Handlers that ``processes.py`` measures in worker processes, which import this module."""

import re
from typing import Any

import fanfold
from process_work import compute


def accept(order: dict[str, Any]) -> None:
    """Do nothing with a decoded body."""


def burn(order: dict[str, Any]) -> None:  # noqa: ARG001 - a handler
    """Compute in pure Python."""
    compute()


def stick(order: dict[str, Any]) -> None:
    """Hold the interpreter lock if the body asks for it."""
    if order["note"] == "stick":
        re.match("(a+)+$", "a" * 60 + "b")


quick = fanfold.consumer(processes=2)(accept)
slow = fanfold.consumer(processes=2)(burn)
sticking = fanfold.consumer(processes=2, timeout=0.5)(stick)
