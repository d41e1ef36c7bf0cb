"""Every setting with its limits and its default."""

from contextlib import asynccontextmanager, contextmanager

import pytest

import fanfold
from fanfold import Auto, Backoff
from fanfold._consumer.settings import Settings, adjusting_concurrency, allowed_concurrency
from fanfold.errors import ConfigurationError
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryQueue, InMemorySettler

NAN, INFINITY = float("nan"), float("inf")


@asynccontextmanager
async def lifespan():
    yield


async def unopened():
    yield


async def opened_by_hand():
    return lifespan()


def plain():
    yield


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("concurrency", -5),
        ("concurrency", 1.0),
        ("concurrency", True),
        ("concurrency", None),
        ("concurrency", "10"),
        ("concurrency", Auto),
        ("fair", 1),
        ("tenant", 5),
        ("tenant", ""),
        ("tenant", str),
        ("tenant", opened_by_hand),
        ("tenant_concurrency", 0),
        ("tenant_concurrency", "2"),
        ("chunk_size", 0),
        ("chunk_size", 2.5),
        ("chunk_size", True),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", NAN),
        ("timeout", True),
        ("timeout", "3"),
        ("deadline_margin", -0.1),
        ("deadline_margin", NAN),
        ("deadline_margin", "1"),
        ("starts_per_second", 0),
        ("starts_per_second", -1),
        ("starts_per_second", NAN),
        ("starts_per_second", "10"),
        ("memory_share", 0),
        ("memory_share", 1.01),
        ("memory_share", NAN),
        ("memory_share", 90),
        ("backoff", 5),
        ("backoff", Backoff),
        ("reject_on", 5),
        ("reject_on", "ValueError"),
        ("reject_on", [ValueError]),
        ("reject_on", (ValueError, 5)),
        ("reject_on", (ValueError, int)),
        ("reject_on", int),
        ("lifespan", 5),
        ("lifespan", unopened),
        ("lifespan", opened_by_hand),
        ("lifespan", contextmanager(plain)),
        ("lifespan", lifespan()),
        ("idempotency", Idempotency),
        ("commit", "commit"),
        ("settler", 5),
        ("dead_letter_queue_url", 5),
        ("raise_on_total_failure", "no"),
    ],
)
def test_an_invalid_value_is_refused_with_one_line_that_contains_its_setting(name: str, value):
    """The error occurs at decoration, before anything is deployed."""
    with pytest.raises(ConfigurationError, match=f"^{name} must be .*not") as raised:
        fanfold.consumer(**{name: value})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 1},
        {"concurrency": 10_000},
        {"concurrency": "auto"},
        {"concurrency": Auto(minimum=2, maximum=20)},
        {"fair": True},
        {"tenant_concurrency": 2},
        {"chunk_size": 1},
        {"chunk_size": None},
        {"timeout": 0.001},
        {"timeout": 900},
        {"timeout": None},
        {"deadline_margin": 0},
        {"deadline_margin": INFINITY},
        {"starts_per_second": 0.01},
        {"memory_share": 1},
        {"memory_share": 0.01},
        {"memory_share": None},
        {"backoff": Backoff(base=1)},
        {"reject_on": ValueError},
        {"reject_on": ()},
        {"reject_on": (KeyError, KeyboardInterrupt)},
        {"reject_on": lambda error: True},
        {"dead_letter_queue_url": ""},
        {"raise_on_total_failure": True},
        {"lifespan": lifespan},
        {"settler": InMemorySettler(InMemoryQueue())},
    ],
)
def test_a_valid_value_is_stored_unchanged(settings: dict):
    """The limits themselves are valid."""
    [name] = settings
    assert getattr(Settings(**settings), name) == settings[name]


def test_the_defaults_are_those_of_the_documentation():
    """A decorator without settings uses them."""
    assert fanfold.consumer(lambda body: None).settings == Settings(
        concurrency=10,
        timeout=None,
        chunk_size=None,
        backoff=None,
        reject_on=None,
        dead_letter_queue_url=None,
        raise_on_total_failure=False,
        starts_per_second=None,
        memory_share=0.9,
        deadline_margin=None,
        lifespan=None,
        commit=None,
        settler=None,
    )


@pytest.mark.parametrize("tenant", ["customer", lambda record: record.body])
def test_a_tenant_needs_a_setting_that_uses_it(tenant: object):
    """Otherwise, it has no effect."""
    for others in ({"fair": True}, {"tenant_concurrency": 2}):
        assert Settings(tenant=tenant, **others).is_fair
    with pytest.raises(ConfigurationError, match=r"^tenant has no effect without fair=True or tenant_concurrency"):
        Settings(tenant=tenant)
    assert not Settings().is_fair


@pytest.mark.parametrize(
    ("setting", "variable", "allowed", "adjusting"),
    [
        (7, None, 7, None),
        (7, "", 7, None),
        (7, " 3 ", 3, None),
        ("auto", None, 1_000, Auto()),
        (Auto(maximum=20), None, 20, Auto(maximum=20)),
        (Auto(maximum=20), "3", 3, None),
        (Auto(maximum=20), "auto", 20, Auto(maximum=20)),
        (7, "auto", 1_000, Auto()),
    ],
)
def test_the_environment_variable_overrides_the_concurrency(monkeypatch, setting, variable, allowed, adjusting):
    """It may be a number or "auto", which keeps the bounds of the setting."""
    monkeypatch.delenv("FANFOLD_CONCURRENCY", raising=False)
    if variable is not None:
        monkeypatch.setenv("FANFOLD_CONCURRENCY", variable)
    settings = Settings(concurrency=setting)
    assert (allowed_concurrency(settings), adjusting_concurrency(settings)) == (allowed, adjusting)
    assert fanfold.consumer(concurrency=setting)(lambda body: None).concurrency == allowed


@pytest.mark.parametrize("variable", ["0", "automatic", "-1", "2.5"])
def test_an_invalid_environment_variable_is_refused_at_the_first_batch(monkeypatch, variable: str):
    """The error names the variable and the valid values."""
    monkeypatch.setenv("FANFOLD_CONCURRENCY", variable)
    with pytest.raises(
        ConfigurationError, match=r'^FANFOLD_CONCURRENCY must be an integer of at least 1 or "auto", not'
    ):
        allowed_concurrency(Settings())


def test_an_unknown_setting_is_refused_with_a_list_of_the_settings():
    """A misspelled setting is not ignored."""
    with pytest.raises(
        ConfigurationError, match=r"^unknown setting batch, time_out; the settings of a consumer are concurrency, "
    ):
        Settings().changed({"time_out": 3, "batch": 1})


def test_changed_settings_are_checked_like_new_ones():
    """Other settings are unchanged."""
    settings = Settings(concurrency=5, timeout=3)
    assert settings.changed({"timeout": None}) == Settings(concurrency=5)
    with pytest.raises(ConfigurationError, match="concurrency must be"):
        settings.changed({"concurrency": 0})


def test_an_async_predicate_is_refused():
    """It returns a coroutine, which is always true, so every failure would be a rejection."""

    async def permanent(error: BaseException) -> bool:
        return False

    class Permanent:
        async def __call__(self, error: BaseException) -> bool:
            return False

    for predicate in (permanent, Permanent()):
        with pytest.raises(ConfigurationError, match="reject_on must be a def, not an async def"):
            fanfold.consumer(reject_on=predicate)
