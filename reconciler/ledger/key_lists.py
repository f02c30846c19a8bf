"""Lists of keys in conditions, with one parameter a list however long it is.

PostgreSQL takes an array. SQLite takes one JSON text, since it has no arrays and bounds the number of parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_TEXTS = sa.ARRAY(sa.Text)


@dataclass(frozen=True, slots=True)
class Named:
    """A list that a :class:`~reconciler.ledger.combined_select.CombinedSelect` is given by name each time it runs."""

    name: str


Keys: TypeAlias = Sequence[Any] | Named
KeyPairs: TypeAlias = Sequence[tuple[str, str]] | Named


def among(connection: Connection, column: sa.ColumnElement[Any], keys: Keys) -> sa.ColumnElement[bool]:
    """``column`` is one of ``keys``."""
    if connection.dialect.name == "postgresql":
        array = sa.ARRAY(column.type)
        given = sa.bindparam(keys.name, type_=array) if isinstance(keys, Named) else sa.bindparam(None, [*keys], array)
        return column == sa.any_(given)
    listed = sa.func.json_each(_json(keys)).table_valued("value")
    return column.in_(sa.select(listed.c.value))


def pairs(connection: Connection, keys: KeyPairs) -> sa.FromClause:
    """A table of text pairs with the columns ``first`` and ``second``, to join with or to select from."""
    if connection.dialect.name == "postgresql":
        if isinstance(keys, Named):
            halves = [sa.bindparam(name, type_=_TEXTS) for name in halves_of(keys.name)]
        else:
            halves = [sa.bindparam(None, [pair[place] for pair in keys], _TEXTS) for place in (0, 1)]
        listed = sa.func.unnest(*halves).table_valued(sa.column("first", sa.Text), sa.column("second", sa.Text))
        return listed.render_derived()
    one = sa.func.json_each(_json(keys)).table_valued("value", name="listed").c.value
    first, second = sa.func.json_extract(one, "$[0]"), sa.func.json_extract(one, "$[1]")
    return sa.select(first.label("first"), second.label("second")).subquery()


def halves_of(name: str) -> tuple[str, str]:
    """PostgreSQL's two parameters for a list of pairs: the first of each pair, and the second."""
    return f"{name}_first", f"{name}_second"


def _json(keys: Keys) -> sa.BindParameter[str]:
    if isinstance(keys, Named):
        return sa.bindparam(keys.name, type_=sa.Text)
    return sa.bindparam(None, json.dumps(list(keys)), sa.Text)
