"""Rows of a database as dataclasses, and the other way round, by the names that both have."""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa

Kind = TypeVar("Kind")


def from_row(kind: type[Kind], row: Any, /, **given: Any) -> Kind:
    """A dataclass whose fields are columns of a row; ``given`` are fields that the row does not have in that form."""
    return kind(**{name: getattr(row, name) for name in kind.__annotations__ if name not in given}, **given)


def to_row(table: sa.Table, source: object, /, **given: Any) -> dict[str, Any]:
    """Values for every column of a table: from ``given``, else from the attribute of ``source`` of the same name."""
    names = table.columns.keys()
    return {name: given[name] if name in given else getattr(source, name) for name in names}
