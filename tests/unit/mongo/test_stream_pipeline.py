"""The filter's paths: whatever may concern a trigger field passes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.config.mapping import MappingSettings
from reconciler.mongo.stream_pipeline import CAMPAIGN_TRIGGERS, PARTICIPATION_TRIGGERS, pipeline_of, touches

PART = st.text("ab", min_size=1, max_size=2)
PATH = st.lists(PART, min_size=1, max_size=4).map(".".join)


def passes(path: str, *fields: str) -> bool:
    return re.search(touches(fields), path + ".") is not None


@pytest.mark.parametrize(
    ("path", "does"),
    [
        ("progress.total", True),
        ("progress.total.0", True),
        ("progress", True),
        ("status", True),
        ("status.x", True),
        ("progress.totals", False),
        ("progress.other", False),
        ("progres", False),
        ("progressX", False),
        ("statusX", False),
        ("xstatus", False),
        ("x.status", False),
    ],
)
def test_equal_below_or_above_a_field(path: str, *, does: bool) -> None:
    assert passes(path, "progress.total", "status") is does


@given(PATH, PATH)
def test_exactly_those_paths_pass_that_are_equal_or_contain_one_another(path: str, field: str) -> None:
    one, other = path.split("."), field.split(".")
    shorter = min(len(one), len(other))
    assert passes(path, field) is (one[:shorter] == other[:shorter])


def test_a_name_with_signs_of_regular_expressions_is_only_a_name() -> None:
    assert passes("a+b", "a+b")
    assert not passes("aab", "a+b")


def test_the_watched_names_are_the_configured_ones() -> None:
    mapping = MappingSettings.model_validate(
        {"collections": {"participations": "parts"}, "participations": {"impressions": "views"}}
    )
    text = str(pipeline_of(mapping))
    assert "'parts'" in text
    assert "views" in text
    assert "campaignparticipations" not in text


def test_recording_does_not_touch_a_campaigns_trigger() -> None:
    assert "remaining_budget" not in CAMPAIGN_TRIGGERS
    assert {"impressions", "clicks", "estimated_earnings"} < set(PARTICIPATION_TRIGGERS)
