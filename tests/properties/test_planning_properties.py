"""Planning in steps, stopped or killed anywhere, plans the same items as planning in one step."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import S3Lines, S3Objects, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import SourceError
from fanfold.sources import manifest
from fanfold.sources.planning import Step

OBJECTS = st.dictionaries(
    st.text("ab/日", min_size=1, max_size=3),
    st.sampled_from([b"", b"1\n", b"1\n2\n3\n4", b"\xef\xbb\xbf5\n"]),
    max_size=12,
)
SOURCES: dict[str, Callable[[], Any]] = {
    "lines": lambda: S3Lines("b", prefix="in/", suffix=".txt", chunk_bytes=3),
    "keys": lambda: S3Objects("b", prefix="in/", keys_per_segment=3, min_bytes=1),
    "sizes": lambda: S3Objects("b", prefix="in/", bytes_per_segment=5),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of about two lines, so that plans are saved often."""
    monkeypatch.setattr(manifest, "CHUNK_BYTES", 300)


async def items_of(plan: Mapping[str, Any], backend: Backend) -> list[Any]:
    return [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]


class KilledError(Exception):
    """An invocation was killed after it has saved a plan."""


@dataclass
class Saved:
    """The plan that was saved last."""

    plan: dict[str, Any] = field(default_factory=dict)
    saves_left: int | None = None

    async def save(self, unfinished: Mapping[str, Any]) -> None:
        self.plan = json.loads(json.dumps(unfinished))
        if self.saves_left == 0:
            raise KilledError
        self.saves_left = None if self.saves_left is None else self.saves_left - 1


STEPS = st.lists(st.tuples(st.integers(1, 8), st.sampled_from([None, 0, 1])), min_size=1, max_size=8)
"""For each step: the number of objects after which it stops, and the saves before it is killed; None to let it live."""


@pytest.mark.parametrize("kind", SOURCES)
@given(objects=OBJECTS, steps=STEPS)
@settings(deadline=None, max_examples=60)
async def test_steps_plan_every_object_once(kind: str, objects, steps):
    """A step stops after any number of objects, or is killed after any saved plan; the next one resumes there."""
    backend = inmemory.backend()
    stored = {f"in/{name}.{'txt' if 'a' in name else 'log'}": content for name, content in objects.items()}
    backend.store.fill("b", {**stored, "in/0.txt": b"first\n", "other.txt": b"no"})
    source, saved = SOURCES[kind](), Saved()
    for number, (objects_left, saves_left) in enumerate(cycle(steps)):
        calls = count(1)
        step = Step(
            f"step {number}", saved.plan, lambda stops=objects_left, calls=calls: next(calls) >= stops, saved.save
        )
        saved.saves_left = saves_left
        with suppress(KilledError):
            saved.plan = json.loads(json.dumps(await source.plan(backend, step)))
            if "unfinished" not in saved.plan:
                break
    plan = saved.plan
    in_one_step = await source.pin(backend, "one step")
    assert await items_of(plan, backend) == await items_of(in_one_step, backend)
    totals = ("type", "items", "objects", "compressed", "bytes", "largest_bytes")
    assert [plan.get(name) for name in totals] == [in_one_step.get(name) for name in totals]
    parts = list(sources.cut(plan))
    assert [list(sources.cut(plan, first)) for first in range(len(parts))] == [
        parts[first:] for first in range(len(parts))
    ]


async def test_a_listing_without_any_match_is_planned_in_steps():
    """Each step gets further, although nothing is written."""
    backend = inmemory.backend()
    backend.store.fill("b", {f"{number:03}.log": b"" for number in range(100)})
    source, plan, steps = S3Objects("b", suffix=".csv"), {"unfinished": {"after": ""}}, 0
    while "unfinished" in plan:
        plan = dict(await source.plan(backend, Step(f"step {steps}", plan if steps else {}, lambda: True)))
        steps += 1
    assert steps == 101
    assert list(sources.cut(plan)) == []


async def test_an_object_that_was_replaced_since_it_was_listed_is_pinned_as_it_is():
    """The size and the first bytes are of the version that the segments read."""
    backend = inmemory.backend()
    backend.store.fill("b", {"a.csv": b"n\n1\n"})

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(backend.store, name)

        async def list(self, *args: Any, **options: Any) -> Any:
            async for listed in backend.store.list(*args, **options):
                yield listed
                backend.store.fill("b", {"a.csv": b"m\n2\n3\n"})

    late = replace(backend, store=Late())
    plan = await S3Lines("b", prefix="").pin(late, "plan")
    assert await items_of(plan, backend) == [{"m": "2"}, {"m": "3"}]


async def test_a_later_step_compares_objects_with_the_first_one_of_all_steps():
    """Different columns under a prefix are refused, wherever planning stopped in between."""
    backend = inmemory.backend()
    backend.store.fill("b", {"a.csv": b"n\n1\n", "b.csv": b"n\n2\n", "c.csv": b"m\n3\n"})
    source = S3Lines("b", prefix="")
    first = await source.plan(backend, Step("step 1", must_stop=lambda: True))
    second = await source.plan(backend, Step("step 2", json.loads(json.dumps(first)), must_stop=lambda: True))
    assert (second["unfinished"]["after"], second["first"]) == ("b.csv", "a.csv")
    with pytest.raises(SourceError, match=r"s3://b/c\.csv has the column 'm', but s3://b/a\.csv has not"):
        await source.plan(backend, Step("step 3", second))
