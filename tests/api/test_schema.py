"""The OpenAPI schema against the application: whatever is sent, no defect, and no answer that the schema has not.

Seeded, and small enough for every run; ``schemathesis run`` against a demo looks longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.parts import Parts
from tests.support.platform import Platform
from tests.support.served import Served, bearer, served, token

EXAMPLES = 12
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STREAMED = "/api/v1/campaigns/monitoring/full-check/{report_id}/events"


@pytest.fixture
def api(api_parts: Parts, platform: Platform) -> Iterator[Served]:
    platform.participation(platform.campaign(), 2000)
    api_parts.sweep.step("test")
    api_parts.full_check.reporting.directory.require_writable()
    with served(api_parts) as one:
        yield one


def schema_of(api: Served) -> dict[str, Any]:
    document: dict[str, Any] = api.get("/api/v1/openapi.json").json()
    return document


def test_whatever_is_sent_gets_an_answer_that_the_schema_has(api: Served) -> None:
    api.context.status.record("sweep", last_finished_at=api.context.clock())
    schema = schemathesis.openapi.from_dict(schema_of(api))
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path == STREAMED and operation.method == "get":
            continue
        tried += 1

        @seed(20261126)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case: Any) -> None:
            case.call_and_validate(
                base_url=str(api.client.base_url).rstrip("/"), headers=bearer(token("admin")), checks=CHECKS
            )

        send()
    assert tried >= 18


@seed(20261126)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(min_size=1, max_size=40))
def test_ids_that_are_no_ids(api: Served, text: str) -> None:
    for path in ("explain/{}", "payouts/{}", "campaigns/{}/completion-status", "reports/{}"):
        raw = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
        answer = api.get(f"/api/v1/{path.format(raw)}")
        assert answer.status_code < 500, (path, text)


def test_the_schema_shows_examples_and_one_shape_of_errors(api: Served) -> None:
    document = schema_of(api)
    assert document["components"]["schemas"]["ProblemDocument"]["example"]["status"] == 404
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                if status >= "400" and path.startswith("/api/"):
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
