"""Rows and dataclasses filled from each other, by the names that both have."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from reconciler.ledger.rows import from_row, to_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What a row of the table below says."""

    key: str
    amount_minor: int
    kind: str = "payout"


TABLE = sa.Table(
    "paid",
    sa.MetaData(),
    sa.Column("key", sa.Text),
    sa.Column("amount_minor", sa.BigInteger),
    sa.Column("kind", sa.Text),
    sa.Column("batch", sa.BigInteger),
)


def test_a_field_comes_from_the_column_of_its_name_unless_it_is_given() -> None:
    row = SimpleNamespace(key="k", amount_minor=5, kind="reversal", batch=7)
    assert from_row(Paid, row) == Paid(key="k", amount_minor=5, kind="reversal")
    assert from_row(Paid, row, kind="refund", amount_minor=-5) == Paid(key="k", amount_minor=-5, kind="refund")


def test_a_field_without_a_column_is_an_error_and_never_its_default() -> None:
    with pytest.raises(AttributeError, match="kind"):
        from_row(Paid, SimpleNamespace(key="k", amount_minor=5))


def test_every_column_has_a_value_or_it_is_an_error() -> None:
    paid = Paid(key="k", amount_minor=5)
    assert to_row(TABLE, paid, batch=7) == {"key": "k", "amount_minor": 5, "kind": "payout", "batch": 7}
    assert to_row(TABLE, paid, batch=7, kind="x")["kind"] == "x"
    with pytest.raises(AttributeError, match="batch"):
        to_row(TABLE, paid)
