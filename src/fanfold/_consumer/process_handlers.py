"""``fanfold.consumer`` in a worker process: it only registers functions, starts nothing, and loads no event loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fanfold._consumer.handler_names import note
from fanfold.errors import ConfigurationError

_SETTINGS: dict[int, dict[str, Any]] = {}
"""By the id of the function, which ``note`` keeps."""


def settings_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings with which a worker process has registered a function."""
    return _SETTINGS.get(id(function), {})


class Registered:
    """The return value of ``fanfold.consumer`` in a worker process: the registered function, which nothing calls."""

    def __init__(self, function: Callable[..., Any], settings: dict[str, Any]) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = function
        """The handler function."""
        self.settings = settings
        """The settings as passed."""
        note(function)
        _SETTINGS.setdefault(id(function), settings)

    def __call__(self, *_arguments: object) -> object:
        """Refuse: a batch belongs to the consumer.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(f"{self.function.__qualname__} is a consumer; a worker process cannot run its batches")

    def with_settings(self, **settings: Any) -> Registered:
        """Return a consumer of the same function with other settings."""
        return Registered(self.function, {**self.settings, **settings})

    def with_function(self, function: Callable[..., Any]) -> Registered:
        """Return a consumer of another function with the same settings."""
        return Registered(function, self.settings)

    def add_observer(self, observer: object) -> None:
        """Do nothing: observers are in the consumer's process."""

    def close(self) -> None:
        """Do nothing."""


def consumer(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Register a handler, in place of ``fanfold.consumer``."""
    if function is not None:
        return Registered(function, settings)
    return lambda decorated: Registered(decorated, settings)
