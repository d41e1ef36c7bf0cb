"""What every test gets: a clean environment, and one emulated AWS for the whole run."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from fanfold._base.operating_system import signals
from fanfold._stack.emulator import LocalStack, local_stack

# No verdict depends on how busy the machine is.
settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("inner", settings.get_profile("all"), max_examples=20)
settings.load_profile("all")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With ``--hypothesis-profile=inner``, a property that sets its number of examples looks at fewer, too."""
    if (most := settings.default.max_examples) == settings.get_profile("all").max_examples:
        return
    for test in {item.function for item in items if isinstance(item, pytest.Function)}:
        if own := getattr(test, "_hypothesis_internal_use_settings", None):
            test._hypothesis_internal_use_settings = settings(own, max_examples=min(own.max_examples, most))


def pytest_sessionstart() -> None:
    """What tests start can be interrupted, also where a shell runs them in the background, or ``nohup`` does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signals("SIGHUP"):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's AWS, nor another test's settings."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FANFOLD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def parsing() -> Iterator[None]:
    """No garbage is collected while Python parses: what that calls may spoil the parse (CPython 3.11)."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The emulated AWS, started when the first test asks for it."""
    with local_stack() as running:
        yield running


@pytest.fixture
def aws(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """The emulated AWS, with the environment pointing to it."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    return stack


@pytest.fixture
def anyio_backend() -> str:
    """Lambda's event loop."""
    return "asyncio"
