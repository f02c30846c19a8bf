"""What all sections of the configuration have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration: immutable, and closed to keys it does not know.

    The text below an attribute is its description, and stands in config.yaml too.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )


def _refuse_bool(value: object) -> object:
    # pydantic reads true as 1, and YAML reads a bare yes or on as true: nobody means one second by that.
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_refuse_bool)]
"""A whole number; each field adds its limits."""

Seconds = Annotated[float, BeforeValidator(_refuse_bool), Field(gt=0, le=604_800)]
"""A duration above zero, of a week at most. Fractions are for tests, which cannot wait."""

CaseInsensitive = BeforeValidator(_lower)
"""For words out of a list: INFO is info."""
