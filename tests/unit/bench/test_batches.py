"""Batches to measure, and prices."""

import json
from pathlib import Path

import pytest

from fanfold._base.aws_limits import cpus_of
from fanfold._replay.events import SavedEvent
from fanfold.bench.batches import batches_of, synthetic_records
from fanfold.bench.prices import Prices, prices_of
from fanfold.errors import ConfigurationError
from fanfold.testing import make_event, make_fifo_record


def saved(*bodies: object) -> SavedEvent:
    return SavedEvent("event", make_event(*bodies)["Records"])


def test_each_saved_event_is_a_batch():
    """Its records are not changed."""
    batches = batches_of([saved(1, 2), saved(3)], None)
    assert [len(event["Records"]) for event in batches.events] == [2, 1]
    assert (batches.records, batches.cut) == (2, False)


def test_a_larger_batch_repeats_the_records_with_new_ids():
    """Ids in a batch are always different."""
    batches = batches_of([saved(1, 2, 3)], 8)
    (event,) = batches.events
    assert [record["body"] for record in event["Records"]] == ["1", "2", "3", "1", "2", "3", "1", "2"]
    assert len({record["messageId"] for record in event["Records"]}) == 8


def test_smaller_batches_all_have_the_same_size():
    """Remaining records are left out, so that batches can be compared."""
    batches = batches_of([saved(*range(7))], 3)
    assert [[record["body"] for record in event["Records"]] for event in batches.events] == [
        ["0", "1", "2"],
        ["3", "4", "5"],
    ]


def test_a_batch_ends_at_six_megabytes():
    """As with the mapping; ``cut`` reports it."""
    batches = batches_of([synthetic_records(20, 500_000)], None)
    assert batches.cut
    assert batches.records == 12


def test_a_fifo_batch_has_at_most_ten_records():
    """AWS rejects more."""
    event = SavedEvent("fifo", [make_fifo_record(n, message_id=f"m{n}") for n in range(12)])
    with pytest.raises(ConfigurationError, match="batch sizes up to 10"):
        batches_of([event], None)
    assert batches_of([event], 10).records == 10


def test_synthetic_records_have_the_requested_size_and_are_different():
    """JSON bodies. Their sizes differ by the digits of a number."""
    event = synthetic_records(100, 640)
    sizes = {len(record["body"]) for record in event.records}
    assert max(sizes) - min(sizes) <= 1
    assert all(abs(size - 640) <= 4 for size in sizes)
    assert len({record["body"] for record in event.records}) == 100


def test_a_warm_up_occupies_every_concurrent_handler():
    """At least 100 records, or as many as the concurrency, if the batch has that many."""
    batches = batches_of([synthetic_records(300, 32)], None)
    assert [len(batches.warm_up(concurrency)["Records"]) for concurrency in (1, 200, 900)] == [100, 200, 300]


def test_the_digest_is_of_the_content():
    """Equal batches have equal digests; others differ."""
    assert batches_of([saved(1)], None).digest == batches_of([saved(1)], None).digest
    assert batches_of([saved(1)], None).digest != batches_of([saved(2)], None).digest


def test_an_invocation_is_billed_in_whole_milliseconds():
    """The duration is rounded up; the request is added."""
    prices = Prices("here", "2026-11", "x86", gb_second=0.001, requests_million=1.0, sqs_million=0.4)
    assert prices.invocation(0.0101, 1024) == pytest.approx(0.011 * 0.001 + 1e-6)
    assert prices.invocation(0.010, 2048) == pytest.approx(0.020 * 0.001 + 1e-6)
    assert prices.invocation(0.0, 1024) == pytest.approx(1e-6)


def test_arm_costs_a_fifth_less():
    """With the package's prices, which state their Region and date."""
    x86, arm = prices_of("x86"), prices_of("arm")
    assert arm.gb_second / x86.gb_second == pytest.approx(0.8, rel=1e-4)
    assert (x86.region, x86.as_of) == ("us-east-1", "2026-11")


@pytest.mark.parametrize("text", ["{", "{}", '{"region": "x", "as_of": "y", "x86": 3}'])
def test_prices_in_another_format_are_refused(tmp_path: Path, text: str):
    """The error names the file."""
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(
        ConfigurationError,
        match=r"prices\.json (is not a JSON file|does not have the format of fanfold/_base/prices\.json): ",
    ):
        prices_of("x86", file)


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", '"free"'])
def test_a_price_is_above_zero(tmp_path: Path, price: str):
    """Costs are compared as ratios."""
    file = tmp_path / "prices.json"
    lambda_ = f'{{"gb_second": {price}, "requests_million": 0.2}}'
    file.write_text(f'{{"region": "x", "as_of": "y", "x86": {lambda_}, "sqs": {{"standard_million": 0.4}}}}')
    with pytest.raises(
        ConfigurationError,
        match=r"prices\.json (is not a JSON file|does not have the format of fanfold/_base/prices\.json): ",
    ):
        prices_of("x86", file)


def test_custom_prices_are_used(tmp_path: Path):
    """In the format of the package's prices. The error for a missing file names it."""
    custom = {"region": "moon", "as_of": "2030-01", "x86": {"gb_second": 1, "requests_million": 2},
           "sqs": {"standard_million": 3}}  # fmt: skip
    (tmp_path / "custom.json").write_text(json.dumps(custom))
    assert prices_of("x86", tmp_path / "custom.json") == Prices("moon", "2030-01", "x86", 1.0, 2.0, 3.0)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        prices_of("x86", tmp_path / "none.json")


def test_cpu_follows_memory_up_to_six():
    """1,769 MB is one vCPU."""
    assert cpus_of(1_769) == 1.0
    assert cpus_of(128) == pytest.approx(0.072, abs=0.001)
    assert cpus_of(20_000) == 6.0
