"""The sample is the ground other tests stand on: it must be the same each time, and hold what it says."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, encode

from reconciler.devstack.planting import EXPECTED, IMPRESSIONS
from reconciler.devstack.sample import Sample, SampleSpec, generate

if TYPE_CHECKING:
    from reconciler.devstack.documents import Document

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = SampleSpec(now=NOW)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate(SPEC)


def as_bytes(sample: Sample) -> dict[str, list[bytes]]:
    # As BSON, since NaN is not equal to itself and 2500 equals 2500.0.
    return {name: [encode(document) for document in documents] for name, documents in sample.collections().items()}


def by_id(documents: list[Document]) -> dict[Any, Document]:
    return {document["_id"]: document for document in documents}


def test_same_seed_same_documents(sample: Sample) -> None:
    assert as_bytes(generate(SPEC)) == as_bytes(sample) == as_bytes(sample)


def test_another_seed_other_documents(sample: Sample) -> None:
    other = as_bytes(generate(SampleSpec(now=NOW, seed=2)))
    for name, documents in as_bytes(sample).items():
        assert not set(documents) & set(other[name]), name


def test_counts_are_met(sample: Sample) -> None:
    planted = sample.planted
    regular = planted["at_target"] + planted["past_target"] + planted["below_target"]
    assert regular == SPEC.participations_count
    assert len(list(sample.participations())) == regular + sum(len(ids) for ids in sample.planted_ids.values())
    assert len(list(sample.campaigns())) >= SPEC.campaigns_count
    assert min(planted.values()) >= 1


@pytest.mark.parametrize("name", EXPECTED)
def test_every_case_is_planted(sample: Sample, name: str) -> None:
    documents = by_id(list(sample.participations()))
    ids = sample.planted_ids[name]
    assert len(ids) == sample.planted[name] >= 1
    assert all(participation_id in documents for participation_id in ids)


def test_nothing_is_planted_without_a_name(sample: Sample) -> None:
    assert set(sample.planted_ids) == set(EXPECTED)


def test_without_ugly_there_is_only_the_regular_part() -> None:
    clean = generate(SampleSpec(now=NOW, ugly=False))
    assert clean.planted_ids == {}
    assert len(list(clean.participations())) == SPEC.participations_count
    assert len(list(clean.campaigns())) == SPEC.campaigns_count


def test_ids_tokens_and_wallet_owners_are_unique(sample: Sample) -> None:
    for name, documents in sample.collections().items():
        assert max(Counter(document["_id"] for document in documents).values()) == 1, name
    assert max(Counter(document["browserSourceToken"] for document in sample.participations()).values()) == 1
    assert max(Counter(document["userId"] for document in sample.wallets()).values()) == 1


def test_only_the_planted_pair_joined_twice(sample: Sample) -> None:
    pairs = Counter((document["campaignId"], document["streamerId"]) for document in sample.participations())
    assert [count for count in pairs.values() if count > 1] == [2]


def test_every_streamer_has_a_wallet_but_the_planted_one(sample: Sample) -> None:
    owners = {document["userId"] for document in sample.wallets()}
    missing = [document["_id"] for document in sample.participations() if str(document["streamerId"]) not in owners]
    assert missing == sample.planted_ids["wallet_missing"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("impressions_decimal128", Decimal128),
        ("impressions_int64", Int64),
        ("impressions_numeric_text", str),
        ("impressions_whole_double", float),
    ],
)
def test_number_types_survive(sample: Sample, name: str, kind: type) -> None:
    [participation_id] = sample.planted_ids[name]
    assert type(by_id(list(sample.participations()))[participation_id]["impressions"]) is kind


def test_missing_is_not_null(sample: Sample) -> None:
    documents = by_id(list(sample.participations()))
    assert documents[sample.planted_ids["impressions_null"][0]]["impressions"] is None
    assert "impressions" not in documents[sample.planted_ids["impressions_missing"][0]]
    assert math.isnan(documents[sample.planted_ids["impressions_nan"][0]]["impressions"])
    assert len(IMPRESSIONS) == len([name for name in sample.planted_ids if name.startswith("impressions_")])


def test_reference_case(sample: Sample) -> None:
    campaigns = by_id(list(sample.campaigns()))
    documents = by_id(list(sample.participations()))
    hosts = set()
    for impressions in (1_999, 2_000, 2_001, 2_500):
        [participation_id] = sample.planted_ids[f"reference_{impressions}"]
        participation = documents[participation_id]
        campaign = campaigns[participation["campaignId"]]
        hosts.add(campaign["_id"])
        assert participation["impressions"] == impressions
        assert (campaign["paymentType"], campaign["paymentRate"], campaign["budget"]) == ("cpm", 1_650, 3_300)
        assert "targetImpressions" not in campaign
    assert len(hosts) == 4


def test_regular_terms_agree_with_their_payment(sample: Sample) -> None:
    """The oracle checked by hand: targets and earnings in fractions."""
    minor_units = {"INR": 100, "JPY": 1, "KWD": 1_000}
    for plan in sample.plans:
        terms = plan.terms
        rate, budget = Fraction(str(terms.rate)), Fraction(str(terms.budget))
        if terms.payment_type == "cpm":
            derived, payment = budget / rate * 1_000, terms.target * rate / 1_000
        else:
            derived, payment = budget * 1_000, rate
        if not terms.explicit_target:
            assert terms.target == math.floor(derived)
        assert payment * minor_units[plan.currency] == terms.payment_minor
        assert payment * plan.due_count <= budget


def test_due_counts_agree_with_the_documents(sample: Sample) -> None:
    targets = {sample.forge.object_id("campaign", plan.number): plan.terms.target for plan in sample.plans}
    regular = [document for document in sample.participations() if document["campaignId"] in targets]
    signs = Counter(
        (document["impressions"] > targets[document["campaignId"]])
        - (document["impressions"] < targets[document["campaignId"]])
        for document in regular
    )
    planted = sample.planted
    assert (signs[0], signs[1], signs[-1]) == (planted["at_target"], planted["past_target"], planted["below_target"])


def test_several_currencies_and_both_payment_types_are_paid(sample: Sample) -> None:
    assert set(sample.expected_paid_minor) == {"INR", "JPY", "KWD"}
    assert sample.expected_paid_count > sample.planted["at_target"] + sample.planted["past_target"]
    due = {(plan.terms.payment_type, plan.terms.explicit_target) for plan in sample.plans if plan.due_count}
    assert due == {("cpm", True), ("cpm", False), ("fixed", True), ("fixed", False)}


def test_gkeys_of_every_kind(sample: Sample) -> None:
    ours = {str(document["_id"]) for document in sample.campaigns()}
    keys = list(sample.gkeys())
    locked_by_us = Counter((key["userId"], key["lockedWith"]) for key in keys if key["lockedWith"] in ours)
    assert max(locked_by_us.values()) > 1
    assert any(key["lockedWith"] and key["lockedWith"] not in ours for key in keys)
    assert any(key["status"] == "available" for key in keys)
    assert any(key["lastBrandCooloffHours"] == 1_440 and key["lockedWith"] in ours for key in keys)
    assert any(key["lockedAt"] and key["lockedAt"] > NOW for key in keys)


def test_a_million_participations_are_made_lazily() -> None:
    tracemalloc.start()
    try:
        sample = generate(SampleSpec(now=NOW, campaigns_count=400, participations_count=1_000_000))
        first = list(itertools.islice(sample.participations(), 2_000))
        for stream in (sample.wallets(), sample.transactions(), sample.gkeys()):
            assert len(list(itertools.islice(stream, 1_000))) == 1_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(first) == 2_000
    assert sum(plan.participations_count for plan in sample.plans) == 1_000_000
    assert peak_bytes < 20_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"now": NOW.replace(tzinfo=None)},
        {"now": NOW.replace(microsecond=1)},
        {"campaigns_count": 0},
        {"participations_count": -1},
        {"due_percent": 101},
    ],
)
def test_a_wrong_spec_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        generate(SampleSpec(**({"now": NOW} | wrong)))
