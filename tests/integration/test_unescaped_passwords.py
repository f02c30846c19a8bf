"""A password as it was typed, with what a URL means something else by: no message quotes a piece of it."""

from __future__ import annotations

import pytest

from reconciler.config import Settings, load
from reconciler.errors import ConfigError, ReconcilerError
from reconciler.ledger.engine import open_engine
from reconciler.ledger.revisions import current_revision
from reconciler.mongo.connection import connect, is_standalone

SIGNS = "@/#?:[]% &='\""


@pytest.mark.parametrize("first", SIGNS)
@pytest.mark.parametrize("second", SIGNS)
def test_no_piece_of_a_password_that_was_typed_unescaped_is_ever_shown(first: str, second: str) -> None:
    pieces = ("Xq1", "Zk2", "Wv3")
    password = f"{pieces[0]}{first}{pieces[1]}{second}{pieces[2]}"
    for key, url in (
        ("ledger.url", f"postgresql://app:{password}@127.0.0.1:1/db"),
        ("mongodb.uri", f"mongodb://app:{password}@127.0.0.1:1/db?serverSelectionTimeoutMS=20"),
    ):
        try:
            settings = load(None, {}, {key: url})
        except ConfigError as refused:
            said = str(refused)
        else:
            said = str(settings.masked()) + _said_by_its_database(settings, key)
        assert not [piece for piece in pieces if piece in said]


def _said_by_its_database(settings: Settings, key: str) -> str:
    """What is said of a database that nobody serves."""
    try:
        if key == "ledger.url":
            engine = open_engine(settings.ledger.url.get_secret_value())
            try:
                current_revision(engine)
            finally:
                engine.dispose()
        else:
            connection = connect(settings.mongodb.uri.get_secret_value(), "db", wait_max_s=0.02)
            try:
                is_standalone(connection)
            finally:
                connection.close()
    except ReconcilerError as failure:
        return str(failure)
    return ""
