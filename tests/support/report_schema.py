"""The published JSON Schema of a report, with formats checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reconciliation-report-1.schema.json"


@cache
def validator() -> Draft202012Validator:
    """Of docs/reconciliation-report-1.schema.json, itself valid."""
    schema = _schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker(("date", "date-time")))


def schema_errors(document: Mapping[str, Any]) -> list[str]:
    """Where a document is no report, each with its path; nothing for one that is."""
    return [f"{one.json_path}: {one.message}" for one in validator().iter_errors(document)]


def required_fields() -> list[str]:
    """Of the document as a whole."""
    found = _schema()["required"]
    assert isinstance(found, list)
    return found


def _schema() -> dict[str, Any]:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert isinstance(schema, dict)
    return schema
