"""Commands end, whatever falls silent while they ask: with exit code 3 and a sentence, soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo.database import Database
from sqlalchemy.engine import make_url

from tests.support.command_line import CommandLine
from tests.support.platform import Platform
from tests.support.silent_proxy import SilentProxy

COMMANDS = {
    "once": ["--once"],
    "full check": ["--full-check"],
    "status": ["status"],
    "payouts list": ["payouts", "list"],
    "verify": ["ledger", "verify"],
    "migrate": ["migrate"],
}
SOON_S = 45.0
"""A third of what one waited for MongoDB before; starting a process takes long on a busy machine."""


@pytest.fixture
def direct(mongo_uri: str, mongo_database: Database[dict[str, Any]], postgres_url: str, tmp_path: Path) -> CommandLine:
    """A migrated ledger, somebody who is due, and both servers reached directly."""
    command_line = CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": mongo_uri,
            "LEDGER_URL": postgres_url,
            "RECONCILER__MONGODB__DATABASE": mongo_database.name,
            "RECONCILER__MONGODB__WAIT_MAX_S": "2",
            "RECONCILER__LEDGER__WAIT_MAX_S": "2",
            "RECONCILER__LOG__LEVEL": "error",
        },
    )
    assert command_line.run("migrate").code == 0
    platform = Platform(mongo_database)
    platform.participation(platform.campaign())
    return command_line


def through(proxy: SilentProxy, url: str) -> str:
    return make_url(url).set(port=proxy.port).render_as_string(hide_password=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_where_postgresql_never_answers(direct: CommandLine, postgres_url: str, command: str) -> None:
    with SilentProxy(make_url(postgres_url).port or 0) as proxy:
        proxy.silence(also_new=True)
        ended = direct.run(*COMMANDS[command], LEDGER_URL=through(proxy, postgres_url))
    assert ended.code == 3, ended.stderr
    assert ended.seconds < SOON_S


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("once", b"FOR UPDATE"),
        ("full check", b"chain"),
        ("status", b"leases"),
        ("payouts list", b"payouts"),
        ("verify", b"entries"),
        ("migrate", b"pg_advisory_xact_lock"),
    ],
)
def test_where_a_connection_falls_silent_in_the_middle(
    direct: CommandLine, postgres_url: str, command: str, word: bytes
) -> None:
    with SilentProxy(make_url(postgres_url).port or 0) as proxy:
        proxy.silence_at(word)
        ended = direct.run(*COMMANDS[command], LEDGER_URL=through(proxy, postgres_url))
        assert proxy.wait_until_silent(0)
    assert (ended.code, "fell silent" in ended.stdout + ended.stderr) == (3, True), ended.stderr
    assert ended.seconds < SOON_S
    # The next try is as if nothing had been.
    assert direct.run(*COMMANDS[command]).code in (0, 1)


@pytest.mark.parametrize("command", ["once", "full check", "status", "migrate"])
def test_where_mongodb_falls_silent(direct: CommandLine, mongo_uri: str, command: str) -> None:
    """With less patience than by default, which the URI may say."""
    with SilentProxy(urlsplit(mongo_uri).port or 0) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true&socketTimeoutMS=1000"
        proxy.silence_at(b"find" if command in ("once", "full check") else b"hello")
        proxy.silence(also_new=command != "once")
        ended = direct.run(*COMMANDS[command], MONGODB_URI=uri)
    assert ended.code in ((0, 3) if command == "once" else (3,)), ended.stderr
    assert ended.seconds < SOON_S


class TestWithoutALedger:
    @pytest.mark.parametrize("command", ["payouts list", "verify", "status"])
    def test_reading_makes_none_and_says_where_it_looked(self, direct: CommandLine, command: str) -> None:
        settings = {"LEDGER_URL": "", "RECONCILER__LOG__LEVEL": "info"}
        ended = direct.run(*COMMANDS[command], **settings)
        assert ended.code == 2, ended.stderr
        assert f"there is no ledger at {direct.folder / 'ledger.db'}" in ended.stderr
        assert "nothing says where the ledger is" in ended.stderr
        assert not list(direct.folder.glob("ledger.db*"))

    def test_paying_makes_one(self, direct: CommandLine) -> None:
        assert direct.run("--once", LEDGER_URL="").code == 0
        assert (direct.folder / "ledger.db").exists()

    def test_a_file_says_where_it_is(self, direct: CommandLine, postgres_url: str) -> None:
        secret = direct.folder / "url"
        secret.write_text(f" {postgres_url}\n")
        ended = direct.run("--once", LEDGER_URL="", LEDGER_URL_FILE=str(secret))
        assert (ended.code, list(direct.folder.glob("ledger.db*"))) == (0, []), ended.stderr
