"""What streamers have in each currency: the balances of their two accounts, under one version."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain import accounts as names
from reconciler.domain.effects import WalletPosition
from reconciler.ledger.key_lists import pairs
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import accounts, wallet_positions

_wallet, _held = accounts.alias("wallet"), accounts.alias("held")


def account_of(name: Callable[[str], str]) -> sa.ColumnElement[str]:
    """The account of a row's streamer; ``name`` makes its name, as :func:`accounts.wallet` does."""
    before, _, after = name("|").partition("|")
    return sa.literal(before) + wallet_positions.c.streamer_id + sa.literal(after)


def _is_its(account: sa.FromClause, name: Callable[[str], str]) -> sa.ColumnElement[bool]:
    return sa.and_(account.c.account == account_of(name), account.c.currency == wallet_positions.c.currency)


POSITIONS = (
    sa.select(
        wallet_positions.c.streamer_id,
        wallet_positions.c.currency,
        wallet_positions.c.version,
        sa.func.coalesce(_wallet.c.balance_minor, 0).label("available_minor"),
        sa.func.coalesce(_held.c.balance_minor, 0).label("held_minor"),
        wallet_positions.c.projected_version.label("acknowledged_version"),
    )
    .join_from(wallet_positions, _wallet, _is_its(_wallet, names.wallet), isouter=True)
    .join(_held, _is_its(_held, names.held), isouter=True)
)
"""Every position: the columns are the fields of :class:`WalletPosition`."""


def read_positions(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], WalletPosition]:
    """The positions of some (streamer, currency); one that does not exist is absent."""
    table, wanted = wallet_positions, pairs(connection, keys)
    is_wanted = sa.tuple_(table.c.streamer_id, table.c.currency).in_(sa.select(wanted.c.first, wanted.c.second))
    rows = connection.execute(POSITIONS.where(is_wanted)).all()
    return {(row.streamer_id, row.currency): from_row(WalletPosition, row) for row in rows}
