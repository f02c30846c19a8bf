"""Several selects in one statement, built once and then only run: a live payout waits for every round trip.

The rows of each select come back as one JSON text, so that one row of one statement holds them all. The statement that
the driver takes is kept: building it costs this program more than running it costs the database.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from reconciler.ledger.key_lists import halves_of
from reconciler.ledger.schema import UtcDateTime, times_to_driver

Select: TypeAlias = sa.Select[Any]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of texts, to be given to a statement."""

    values: list[tuple[str, str]]


Given: TypeAlias = list[str] | Pairs | datetime
_TIME = UtcDateTime()


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement as the driver takes it, and how to read its one row."""

    sql: str
    constants: Mapping[str, Any]
    order: Sequence[str] | None
    """The names of its parameters where the driver counts them; None where it knows them by name."""
    rows: Mapping[str, type[Any]]
    times: Mapping[str, Sequence[int]]


class CombinedSelect:
    """Selects by name that run as one statement. ``build`` makes them, once a dialect.

    A select refers to what it is given by name: :class:`~reconciler.ledger.key_lists.Named` lists, and bound times.
    """

    def __init__(self, build: Callable[[Connection], Mapping[str, Select]]) -> None:
        self._build = build
        self._statements: dict[str, _Statement] = {}

    def run(self, connection: Connection, given: Mapping[str, Given]) -> dict[str, list[Any]]:
        """The rows of each select, by its name, as named tuples in no order, all of one snapshot."""
        dialect = connection.dialect
        if dialect.name not in self._statements:
            self._statements[dialect.name] = _statement(self._build(connection), dialect)
        statement = self._statements[dialect.name]
        parameters = {**statement.constants, **_as_parameters(given, dialect)}
        in_order = parameters if statement.order is None else tuple(parameters[name] for name in statement.order)
        [found] = connection.exec_driver_sql(statement.sql, in_order)
        return {
            name: _rows(text, statement.rows[name], statement.times[name], dialect)
            for name, text in zip(statement.rows, found, strict=True)
        }


def _statement(selects: Mapping[str, Select], dialect: Dialect) -> _Statement:
    is_postgres = dialect.name == "postgresql"
    one_row = sa.func.json_build_array if is_postgres else sa.func.json_array
    all_rows = sa.func.json_agg if is_postgres else sa.func.json_group_array
    rows: dict[str, type[Any]] = {}
    times: dict[str, Sequence[int]] = {}
    texts = []
    for name, select in selects.items():
        found = select.subquery(f"of_{name}")
        columns = list(found.c)
        rows[name] = namedtuple(f"Row_{name}", [column.name for column in columns])
        times[name] = [place for place, column in enumerate(columns) if isinstance(column.type, UtcDateTime)]
        # As text: one of the drivers would turn JSON into objects by itself.
        as_text = sa.cast(all_rows(one_row(*columns)), sa.Text)
        texts.append(sa.select(as_text).select_from(found).scalar_subquery().label(name))
    compiled = sa.select(*texts).compile(dialect=dialect)
    return _Statement(
        sql=str(compiled),
        constants=dict(compiled.params),
        order=compiled.positiontup if compiled.positional else None,
        rows=rows,
        times=times,
    )


def _as_parameters(given: Mapping[str, Given], dialect: Dialect) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, datetime):
            [parameters[name]] = times_to_driver([value], dialect, name)
        elif isinstance(value, Pairs) and dialect.name == "postgresql":
            for place, half in enumerate(halves_of(name)):
                parameters[half] = [pair[place] for pair in value.values]
        elif dialect.name != "postgresql":
            parameters[name] = json.dumps(value.values if isinstance(value, Pairs) else value)
        else:
            parameters[name] = value
    return parameters


def _rows(text: str | None, row: type[Any], times: Sequence[int], dialect: Dialect) -> list[Any]:
    found = json.loads(text) if text else []
    for values in found:
        for place in times:
            if values[place] is not None:
                values[place] = _TIME.process_result_value(datetime.fromisoformat(values[place]), dialect)
    return [row._make(values) for values in found]
