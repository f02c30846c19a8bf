"""`migrate`: the ledger's tables and MongoDB's indexes."""

from __future__ import annotations

import click
import structlog

from app.ledger import wait_for_ledger
from app.parts import parts_of
from app.preparing import say_missing
from cli import render
from cli.session import Session, as_json_option, print_json
from reconciler.exit_codes import ExitCode
from reconciler.ledger.migrate import upgrade
from reconciler.mongo import indexes

log = structlog.get_logger(__name__)


@click.command()
@as_json_option
@click.pass_obj
def migrate(session: Session) -> ExitCode:
    """Create or upgrade the ledger's tables and MongoDB's indexes."""
    settings = session.settings()
    with parts_of(settings) as parts:
        wait_for_ledger(parts)
        before, after = upgrade(parts.engine)
        missing = parts.scan.missing_collections()
        spared = {one.name for one in missing.values()}
        ignored = indexes.ignored(parts.connection, settings.mapping)
        created = indexes.create_missing(parts.connection, settings.mapping, spared=spared)
        advice = indexes.wallets_advice(parts.connection, settings.mapping)
    for one in ignored:
        log.warning("an index cannot be used", action="index_ignored", why=one)
    for sentence in advice:
        log.warning(sentence, action="wallets_not_unique")
    names = [str(index) for index in created]
    say_missing(missing)
    if session.as_json:
        shown = {"collections_missing": sorted(one.name for one in missing.values())} if missing else {}
        print_json({"ledger": {"before": before, "after": after}, "indexes_created": names, **shown})
    else:
        render.migration(before, after, names)
    return ExitCode.CLEAN
