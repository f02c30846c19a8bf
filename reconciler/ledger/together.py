"""Several questions in one statement, written once and then only asked: a live payout waits for every round trip.

Each question is a select whose rows come as JSON, so that one row of one statement answers all of them. What is
written out for the driver the first time is kept: building a statement costs this program more than asking it costs
the database.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import StatementError

from reconciler.ledger.schema import UtcDateTime

Select: TypeAlias = sa.Select[Any]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of texts, to be given to a statement."""

    values: list[tuple[str, str]]


Given: TypeAlias = list[str] | Pairs | datetime
_TEXTS = postgresql.ARRAY(sa.Text)
_TIME = UtcDateTime()


@dataclass(frozen=True, slots=True)
class Lists:
    """How selects speak of lists that are given by name when they are asked, however long."""

    dialect: Dialect

    def among(self, column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
        """``column`` is one of the texts given as ``name``."""
        if self.dialect.name == "postgresql":
            return column == sa.any_(sa.bindparam(name, type_=_TEXTS))
        listed = sa.func.json_each(sa.bindparam(name, type_=sa.Text)).table_valued("value")
        return column.in_(sa.select(listed.c.value))

    def pairs(self, name: str) -> sa.Select[tuple[str, str]]:
        """The pairs of texts given as ``name``, as two columns."""
        if self.dialect.name == "postgresql":
            halves = [sa.bindparam(f"{name}_{which}", type_=_TEXTS) for which in ("first", "second")]
            listed = sa.func.unnest(*halves).table_valued(sa.column("first", sa.Text), sa.column("second", sa.Text))
            pairs = listed.render_derived()
            return sa.select(pairs.c.first, pairs.c.second)
        one = sa.func.json_each(sa.bindparam(name, type_=sa.Text)).table_valued("value").c.value
        return sa.select(sa.func.json_extract(one, "$[0]"), sa.func.json_extract(one, "$[1]"))


@dataclass(frozen=True, slots=True)
class _Written:
    """A statement as the driver takes it, and how to read its answers."""

    sql: str
    constants: Mapping[str, Any]
    order: Sequence[str] | None
    """The names of its parameters where the driver counts them; None where it knows them by name."""
    rows: Mapping[str, type[Any]]
    times: Mapping[str, Sequence[int]]


class Together:
    """``build`` makes the questions by name. Ask in a transaction: all of them are answered from one snapshot."""

    def __init__(self, build: Callable[[Lists], Mapping[str, Select]]) -> None:
        self._build = build
        self._written: dict[str, _Written] = {}

    def ask(self, connection: Connection, given: Mapping[str, Given]) -> dict[str, list[Any]]:
        """The rows of each question, as named tuples, in no order."""
        dialect = connection.dialect
        if dialect.name not in self._written:
            self._written[dialect.name] = _write(self._build(Lists(dialect)), dialect)
        written = self._written[dialect.name]
        parameters = {**written.constants, **_as_parameters(given, dialect)}
        in_order = parameters if written.order is None else tuple(parameters[name] for name in written.order)
        [answers] = connection.exec_driver_sql(written.sql, in_order)
        return {
            name: _rows(answer, written.rows[name], written.times[name], dialect)
            for name, answer in zip(written.rows, answers, strict=True)
        }


def times_to_driver(values: Sequence[datetime | None], dialect: Dialect, what: str) -> list[Any]:
    """Times as the driver stores them. Raises StatementError for those that would be read back as others."""
    processed = _TIME.bind_processor(dialect)
    try:
        return list(values) if processed is None else [processed(value) for value in values]
    except ValueError as error:
        raise StatementError(str(error), what, None, error) from error


def _write(questions: Mapping[str, Select], dialect: Dialect) -> _Written:
    is_postgres = dialect.name == "postgresql"
    one_row = sa.func.json_build_array if is_postgres else sa.func.json_array
    all_rows = sa.func.json_agg if is_postgres else sa.func.json_group_array
    rows: dict[str, type[Any]] = {}
    times: dict[str, Sequence[int]] = {}
    answers = []
    for name, question in questions.items():
        found = question.subquery(f"of_{name}")
        columns = list(found.c)
        rows[name] = namedtuple(f"Row_{name}", [column.name for column in columns])
        times[name] = [place for place, column in enumerate(columns) if isinstance(column.type, UtcDateTime)]
        # As text: one of the drivers would turn JSON into objects by itself.
        as_text = sa.cast(all_rows(one_row(*columns)), sa.Text)
        answers.append(sa.select(as_text).select_from(found).scalar_subquery().label(name))
    compiled = sa.select(*answers).compile(dialect=dialect)
    return _Written(
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
            parameters[f"{name}_first"] = [one[0] for one in value.values]
            parameters[f"{name}_second"] = [one[1] for one in value.values]
        elif dialect.name != "postgresql":
            parameters[name] = json.dumps(value.values if isinstance(value, Pairs) else value)
        else:
            parameters[name] = value
    return parameters


def _rows(answer: str | None, row: type[Any], times: Sequence[int], dialect: Dialect) -> list[Any]:
    found = json.loads(answer) if answer else []
    for values in found:
        for place in times:
            if values[place] is not None:
                values[place] = _TIME.process_result_value(datetime.fromisoformat(values[place]), dialect)
    return [row._make(values) for values in found]
