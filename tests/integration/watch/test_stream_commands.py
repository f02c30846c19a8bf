"""`run.py stream show` and `stream reset`, on real servers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.clock import utc_now
from reconciler.devstack.mongod import MongodOptions
from reconciler.devstack.process import free_port
from reconciler.ledger.engine import open_engine
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ports.watch import Position
from tests.support.product import Product
from tests.support.servers import ReplicaSet
from tests.support.watched import watched


def test_without_a_position_it_says_that_it_could_watch(product: Product) -> None:
    shown = product.run("stream", "show", "--json")
    assert shown.code == 0
    found = shown.json()
    assert (found["can_watch"], found["has_position"], found["problem"]) == (True, False, None)
    assert "can watch: yes" in product.run("stream", "show").stdout


def test_a_kept_position_is_shown_and_forgotten(product: Product) -> None:
    if product.servers["ledger.url"].startswith("sqlite"):
        with watched(product.servers) as daemon:
            daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
        found = product.run("stream", "show", "--json").json()
        assert found["has_position"]
        assert found["position_is_of_this_stream"]
        assert found["can_watch"]
        assert 0 <= found["age_s"] < 600
    before = product.run("stream", "show", "--json").json()["generation"]
    assert product.run("stream", "reset", "--json").json() == {"reset": True, "generation": before + 1}
    found = product.run("stream", "show", "--json").json()
    assert (found["has_position"], found["dropped_because"]) == (False, "reset")
    assert "forgotten" in product.run("stream", "reset").stdout


def test_a_position_of_another_stream_is_told_from_one_of_this(product: Product) -> None:
    engine = open_engine(product.servers["ledger.url"])
    assert StreamPositions(engine, clock=utc_now).save(Position(token="{}", reached_at=None), "another", 0)
    engine.dispose()
    found = product.run("stream", "show", "--json").json()
    assert (found["position_is_of_this_stream"], found["can_watch"]) == (False, True)


def test_a_server_that_is_away_is_exit_code_3(product: Product) -> None:
    nowhere = f"mongodb://127.0.0.1:{free_port()}/?replicaSet=x"
    product.settings.update({"mongodb.uri": nowhere, "mongodb.wait_max_s": "0.2"})
    shown = product.run("stream", "show", "--json")
    assert shown.code == 3
    assert (shown.json()["can_watch"], shown.json()["problem"]) == (False, "connection")


@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_a_standalone_server_comes_with_its_remedy(product: Product, tmp_path: Path, flag: tuple[str, ...]) -> None:
    with ReplicaSet(tmp_path / "alone", MongodOptions(standalone=True)) as server:
        product.settings["mongodb.uri"] = server.uri
        shown = product.run("stream", "show", *flag)
    assert shown.code == 0
    assert "rs.initiate()" in shown.stdout
    assert "no_change_streams" in shown.stdout


def test_the_status_shows_where_the_stream_stands(product: Product) -> None:
    def stream() -> dict[str, object]:
        found: dict[str, object] = product.run("status", "--json").json()["stream"]
        return found

    assert (stream()["has_position"], stream()["age_s"], stream()["dropped_because"]) == (False, None, None)
    engine = open_engine(product.servers["ledger.url"])
    positions = StreamPositions(engine, clock=utc_now)
    kept = Position(token="{}", reached_at=utc_now() - timedelta(hours=2))
    generation = positions.load().generation
    assert positions.save(kept, "fingerprint", generation)
    age_s = stream()["age_s"]
    assert isinstance(age_s, int)
    assert 7_200 <= age_s < 10_800
    shown = " ".join(product.run("status").stdout.split())
    assert "stream: has position: yes" in shown
    assert "stream: age s: 7" in shown
    assert "stream: dropped because" not in shown
    positions.drop("history_lost")
    engine.dispose()
    assert (stream()["has_position"], stream()["dropped_because"]) == (False, "history_lost")
    assert "stream: dropped because: history_lost" in " ".join(product.run("status").stdout.split())
