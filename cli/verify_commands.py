"""`ledger verify` and `ledger anchor`: proving the ledger from itself, and against a line kept elsewhere.

Click commands without a group: the command line hangs them under `ledger`.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from app.ledger import ledger_of, wait_for_ledger
from cli import render
from cli.session import Session, as_json_option, print_json
from cli.tables import one_line
from reconciler.errors import Defect, Refused
from reconciler.exit_codes import ExitCode
from reconciler.ledger.proof.anchor import Anchor, anchor_of
from reconciler.ledger.proof.damage import require_file
from reconciler.ledger.proof.verify import SqlVerifier, file_faults
from reconciler.ledger.revisions import require_current
from reconciler.ports.integrity import Integrity, IntegrityFault

_FAULTS_SHOWN_MAX = 20


@click.command(name="verify")
@click.option(
    "--anchor", metavar="TEXT", help="A line that `ledger anchor` printed: finds a history written anew, too."
)
@as_json_option
@click.pass_obj
def verify(session: Session, *, anchor: str | None) -> ExitCode:
    """Prove the ledger: every hash, sum, amount and balance from the first entry on. Exits 4 at any fault."""
    kept = Anchor.parse(anchor) if anchor is not None else None
    with ledger_of(session.settings()) as parts:
        require_file(parts.engine)
        found = file_faults(parts.engine)
        if found is None:
            # Where what is stored is damaged, the verifier says so, and where.
            with suppress(Refused, Defect):
                wait_for_ledger(parts)
                require_current(parts.engine, makes=False)
            found = SqlVerifier(parts.engine).verify(kept)
    if session.as_json:
        print_json(_as_json(found, kept))
    else:
        _show(found, kept)
    if not found.faults:
        return ExitCode.CLEAN
    sys.stderr.write(f"{_sentence(found.faults[0])}\n")
    return ExitCode.HALTED


@click.command(name="anchor")
@click.pass_obj
def anchor(session: Session) -> ExitCode:
    """Print where the chain stands, as one line to be kept elsewhere, for `ledger verify --anchor`."""
    with ledger_of(session.settings()) as parts:
        require_file(parts.engine)
        wait_for_ledger(parts)
        require_current(parts.engine, makes=False)
        found = anchor_of(parts.engine)
    if session.as_json:
        print_json({"ledger_id": found.ledger_id, "batch": found.batch, "sequence": found.sequence, "hash": found.hash})
    else:
        sys.stdout.write(f"{found}\n")
    return ExitCode.CLEAN


def _sentence(first: IntegrityFault) -> str:
    if first.sequence is not None:
        where = f"the first bad entry is {first.sequence}, in batch {first.batch}"
    elif first.batch is not None:
        where = f"the first bad batch is {first.batch}"
    else:
        where = "no single entry is at fault"
    return f"The ledger does not verify: {where}: {first.detail}."


def _as_json(found: Integrity, anchor: Anchor | None) -> dict[str, Any]:
    first = found.faults[0] if found.faults else None
    return {
        "verified": not found.faults,
        "entries": found.entries,
        "payouts": found.payouts,
        "ledger_sequence": found.ledger_sequence,
        "chain_head": found.chain_head,
        "chain_verified_to": found.chain_verified_to,
        "anchor": None if anchor is None else str(anchor),
        "first_bad_batch": first.batch if first else None,
        "first_bad_sequence": first.sequence if first else None,
        "faults": [
            {"kind": fault.kind, "batch": fault.batch, "sequence": fault.sequence, "detail": fault.detail}
            for fault in found.faults
        ],
    }


def _show(found: Integrity, anchor: Anchor | None) -> None:
    rows = [
        ("entries", str(found.entries)),
        ("amounts derived again", str(found.payouts)),
        ("chain right up to batch", str(found.chain_verified_to)),
        ("chain head", found.chain_head or "-"),
    ]
    if anchor is not None:
        rows.append(("anchored at batch", str(anchor.batch)))
    title = "The ledger does not verify" if found.faults else "The ledger verifies"
    rows += [(fault.kind, one_line(fault.detail)) for fault in found.faults[:_FAULTS_SHOWN_MAX]]
    if len(found.faults) > _FAULTS_SHOWN_MAX:
        rows.append(("and", f"{len(found.faults) - _FAULTS_SHOWN_MAX} more; --json has all"))
    render.facts(title, rows)
