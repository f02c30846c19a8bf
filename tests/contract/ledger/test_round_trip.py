"""Writes that go out together: done at the end of the block, or an error in the ledger's own words."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.errors import Defect, Outage
from reconciler.ledger import bulk, schema
from reconciler.ledger.engine import open_engine, reading, writing
from reconciler.ledger.round_trip import one_round_trip
from tests.support.ledger import rows_of


def wallet(streamer_id: str) -> dict[str, object]:
    return {"streamer_id": streamer_id, "currency": "INR", "version": 1, "projected_version": 0}


def test_all_is_written_when_the_block_ends(engine: Engine) -> None:
    with writing(engine) as connection:
        with one_round_trip(connection):
            bulk.insert(connection, schema.wallet_positions, [wallet("a"), wallet("b")])
            bulk.update(connection, schema.wallet_positions, [wallet("b") | {"version": 7}], ("version",))
        versions = connection.execute(sa.select(schema.wallet_positions.c.version)).scalars()
        assert sorted(versions) == [1, 7]


def test_what_the_database_refuses_is_a_defect_and_leaves_nothing(engine: Engine) -> None:
    with (
        pytest.raises(Defect, match="wallet_positions"),
        writing(engine) as connection,
        one_round_trip(connection),
    ):
        bulk.insert(connection, schema.wallet_positions, [wallet("a")])
        bulk.insert(connection, schema.wallet_positions, [wallet("a")])
        bulk.insert(connection, schema.wallet_positions, [wallet("b")])
    assert rows_of(engine, schema.wallet_positions) == []


def test_a_connection_that_dies_in_it_is_an_outage_and_the_next_one_works(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with pytest.raises(Outage), writing(engine) as connection, one_round_trip(connection):
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        connection.exec_driver_sql("CREATE TABLE never (id int)")
    with reading(engine) as connection:
        assert not sa.inspect(connection).has_table("never")
    engine.dispose()
