"""What people decide, from the command line to the documents in MongoDB."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.errors import InvariantBroken
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from tests.support.ledger import everything, ledger_is_sound, rows_of
from tests.support.platform import Platform
from tests.support.product import Answer, Product
from tests.support.projecting import all_documents

SIGNED = ("--by", "asha", "--reason", "counted twice")
OPENING = {"balance": 150.25, "withdrawableBalance": 100.25, "heldBalance": 50.0, "totalEarnings": 900.5}


@pytest.fixture
def rows(product: Product) -> Any:
    """The rows of a ledger's table, as they are now."""

    def read(table: Any) -> list[dict[str, Any]]:
        engine = open_engine(product.servers["ledger.url"])
        try:
            return rows_of(engine, table)
        finally:
            engine.dispose()

    return read


def gained(platform: Platform, participation_id: Any) -> dict[str, float]:
    """What a streamer's wallet has beyond what it had."""
    wallet = platform.wallet_of(participation_id)
    return {name: round(wallet[name] - opening, 6) for name, opening in OPENING.items()}


def all_of(amount: float) -> dict[str, float]:
    """Gained and withdrawable."""
    return {"balance": amount, "withdrawableBalance": amount, "heldBalance": 0.0, "totalEarnings": amount}


def lines(platform: Platform) -> list[tuple[str, float]]:
    found = platform.database["transactions"].find({"createdBy": "payout-reconciler"}, sort=[("processedAt", 1)])
    return [(line["transactionType"], line["amount"]) for line in found]


def key_of(participation_id: Any, n: int = 1) -> str:
    return f"payout:oid:{participation_id}:{n}"


def done(answer: Answer) -> str:
    assert answer.code == 0, answer.stderr
    return str(answer.json()["result"])


def test_a_reversal_reaches_every_document(product: Product, platform: Platform, engine: Engine) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    participation_id = platform.participation(campaign_id)
    platform.participation(campaign_id, 10)
    assert product.sweep().paid == 1
    gkeys = all_documents(platform.database)["gkeys"]

    assert done(product.run("payouts", "reverse", key_of(participation_id), *SIGNED, "--json")) == "reversed"

    shown = platform.read("campaignparticipations", participation_id)
    assert (shown["finalEarnings"], shown["finalEarningsTransferred"], shown["status"]) == (0, True, "completed")
    assert isinstance(shown["earningsReversedAt"], datetime)
    assert gained(platform, participation_id) == all_of(0)
    assert lines(platform) == [("earnings_credit", 3300.0), ("earnings_reversal", -3300.0)]
    assert all_documents(platform.database)["gkeys"] == gkeys
    sweep = product.sweep()
    assert (sweep.paid, sweep.skipped["reversed"]) == (0, 0)  # the document says it is paid: nobody asks again
    assert len(lines(platform)) == 2
    ledger_is_sound(engine)


def test_what_was_withdrawn_meanwhile_makes_the_balance_negative(product: Product, platform: Platform) -> None:
    participation_id = platform.participation(platform.campaign())
    product.sweep()
    platform.database["wallets"].update_one({}, {"$inc": {"balance": -3400, "withdrawableBalance": -3400}})
    assert done(product.run("payouts", "reverse", key_of(participation_id), *SIGNED, "--json")) == "reversed"
    assert platform.wallet_of(participation_id)["withdrawableBalance"] == pytest.approx(100.25 - 3400)

    report = product.run("--full-check", "--dry-run", "--json")

    named = [one for one in report.json()["breaks"] if one["kind"] == "wallet_negative"]
    assert [(one["participation_id"], one["severity"]) for one in named] == [(str(participation_id), "warning")]
    assert report.code == 1


def test_repaid_after_a_reversal(product: Product, platform: Platform, engine: Engine) -> None:
    participation_id = platform.participation(platform.campaign(budget=9900, targetImpressions=2000))
    product.sweep()
    product.run("payouts", "reverse", key_of(participation_id), *SIGNED)

    answer = product.run("payouts", "repay", str(participation_id), *SIGNED, "--json")

    assert answer.json() == {"key": key_of(participation_id, 2), "result": "paid"}
    shown = platform.read("campaignparticipations", participation_id)
    assert shown["finalEarnings"] == 3300
    assert "earningsReversedAt" not in shown
    assert gained(platform, participation_id) == all_of(3300)
    assert [kind for kind, _ in lines(platform)] == ["earnings_credit", "earnings_reversal", "earnings_credit"]
    ledger_is_sound(engine)
    before = everything(engine)
    again = product.run("payouts", "repay", str(participation_id), *SIGNED)
    assert (again.code, again.stderr) == (2, f"{participation_id} is paid: reverse that payout first.\n")
    assert everything(engine) == before


def test_held_earnings_are_released_when_their_days_are_over(
    product: Product, platform: Platform, engine: Engine
) -> None:
    product.settings |= {"payout.hold_days": 3, "payout.platform_fee_bps": 1000}
    participation_id = platform.participation(platform.campaign())
    product.sweep()
    held = {"balance": 2970.0, "withdrawableBalance": 0.0, "heldBalance": 2970.0, "totalEarnings": 2970.0}
    assert gained(platform, participation_id) == held
    product.days = 2
    assert product.keep_house().earnings_released == 0

    product.days = 4
    assert product.keep_house().earnings_released == 1

    assert product.keep_house().earnings_released == 0
    assert gained(platform, participation_id) == all_of(2970)
    assert lines(platform) == [("earnings_hold", 2970.0), ("earnings_release", 2970.0)]
    assert platform.read("campaignparticipations", participation_id)["finalEarnings"] == 2970
    ledger_is_sound(engine)


def test_a_large_payout_waits_for_a_person(product: Product, platform: Platform, rows: Any) -> None:
    product.settings["payout.approval_threshold"] = "INR=3000"
    participation_id = platform.participation(platform.campaign())
    assert (product.sweep().held, product.sweep().held) == (1, 1)
    assert gained(platform, participation_id) == all_of(0)
    [hold] = product.run("holds", "list", "--json").json()["holds"]
    assert (hold["participation_id"], hold["reason"]) == (str(participation_id), "over_approval_threshold")

    assert done(product.run("payouts", "approve", hold["approve_with"], *SIGNED, "--json")) == "approved"

    assert product.sweep().paid == 1
    assert gained(platform, participation_id) == all_of(3300)
    [decision] = rows(schema.decisions)
    assert (decision["decided_by"], decision["reason"]) == ("asha", "counted twice")


def test_a_rejected_one_is_paid_after_all_only_by_a_person(product: Product, platform: Platform) -> None:
    product.settings["payout.approval_threshold"] = "INR=3000"
    participation_id = platform.participation(platform.campaign())
    product.sweep()
    assert done(product.run("payouts", "reject", key_of(participation_id), *SIGNED, "--json")) == "rejected"
    sweep = product.sweep()
    assert (sweep.paid, sweep.held, sweep.skipped["rejected_by_person"]) == (0, 0, 1)
    assert product.run("payouts", "repay", str(participation_id), *SIGNED).code == 0
    assert gained(platform, participation_id) == all_of(3300)


def test_four_eyes_over_the_command_line(product: Product, platform: Platform) -> None:
    product.settings["payout.four_eyes"] = "true"
    participation_id = platform.participation(platform.campaign())
    product.sweep()
    key = key_of(participation_id)
    assert done(product.run("payouts", "reverse", key, *SIGNED, "--json")) == "requested"
    own = product.run("payouts", "approve", f"reversal:{key}", *SIGNED)
    assert (own.code, own.stderr) == (
        2,
        f"reversal:{key} was asked for by asha: another person has to approve it.\n",
    )
    assert gained(platform, participation_id) == all_of(3300)
    other = ("--by", "biren", "--reason", "I saw it too")
    assert done(product.run("payouts", "approve", f"reversal:{key}", *other, "--json")) == "reversed"
    assert gained(platform, participation_id) == all_of(0)


def test_an_adjustment_reaches_the_wallet(product: Product, platform: Platform, engine: Engine) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    participation_id = platform.participation(campaign_id)
    product.sweep()
    streamer_id = platform.read("campaignparticipations", participation_id)["streamerId"]
    moving = ("--from", f"campaign:oid:{campaign_id}:escrow", "--to", f"streamer:{streamer_id}:wallet")

    answer = product.run(
        "ledger", "adjust", "--key", "t-1", *moving, "--amount", "12.50", "--currency", "INR", *SIGNED, "--json"
    )

    assert done(answer) == "adjusted"
    assert gained(platform, participation_id) == all_of(3312.5)
    ledger_is_sound(engine)


ADJUST = ("ledger", "adjust", "--key", "k", "--from", "{escrow}", "--to", "{wallet}")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown key": (("payouts", "reverse", "payout:oid:x:1", *SIGNED), "There is no payout"),
    "reversed before": (("payouts", "reverse", "{key}", *SIGNED), "was reversed before"),
    "not pending": (("payouts", "approve", "{key}", *SIGNED), "does not wait for approval"),
    "not pending to reject": (("payouts", "reject", "{key}", *SIGNED), "does not wait for approval"),
    "no reason": (("payouts", "reverse", "{key}", "--by", "asha"), "Missing option '--reason'"),
    "an empty reason": (("payouts", "reverse", "{key}", "--by", "asha", "--reason", " "), "--reason takes a text"),
    "no name": (("payouts", "repay", "{participation}", "--reason", "x"), "Missing option '--by'"),
    "nobody": (("payouts", "repay", "64b000000000000000000009", *SIGNED), "there is no participation"),
    "not due": (("payouts", "repay", "{below}", *SIGNED), "is not due: below_target 10 of 2000 impressions"),
    "not halted": (("resume", *SIGNED), "paying is not halted"),
    "no time": (("adopt", "--before", "yesterday", *SIGNED), "--before takes a date"),
    "no currency": (
        ("ledger", "adjust", "--key", "k", "--from", "a", "--to", "b", "--amount", "1", "--currency", "XXZ", *SIGNED),
        "XXZ is not a currency code of ISO 4217",
    ),
    "a wrong currency": (
        (*ADJUST, "--amount", "1", "--currency", "USD", *SIGNED),
        "there is no account {escrow} in USD",
    ),
    "too fine an amount": (
        (*ADJUST, "--amount", "1.005", "--currency", "INR", *SIGNED),
        "--amount",
    ),
    "an escrow too small": (
        (*ADJUST, "--amount", "9999", "--currency", "INR", *SIGNED),
        "{escrow} holds 3300.00 INR, which is less than that",
    ),
}


def test_bad_input_is_a_sentence_exit_code_2_and_nothing_written(
    product: Product, platform: Platform, engine: Engine
) -> None:
    campaign_id = platform.campaign()
    participation_id = platform.participation(campaign_id)
    below = platform.participation(platform.campaign(), 10)
    product.sweep()
    product.run("payouts", "reverse", key_of(participation_id), *SIGNED)
    streamer_id = platform.read("campaignparticipations", participation_id)["streamerId"]
    names = {
        "key": key_of(participation_id),
        "participation": str(participation_id),
        "below": str(below),
        "escrow": f"campaign:oid:{campaign_id}:escrow",
        "wallet": f"streamer:{streamer_id}:wallet",
    }
    before = everything(engine), all_documents(platform.database)

    for case, (arguments, sentence) in REFUSED.items():
        answer = product.run(*(argument.format(**names) for argument in arguments))
        assert (answer.code, answer.stdout) == (2, ""), (case, answer)
        assert sentence.format(**names).lower() in answer.stderr.lower(), (case, answer.stderr)
        assert answer.stderr.count("\n") == 1, (case, answer.stderr)

    assert (everything(engine), all_documents(platform.database)) == before


def test_what_was_settled_before_us_is_adopted(product: Product, platform: Platform, rows: Any) -> None:
    campaign_id = platform.campaign(budget=9900, targetImpressions=2000)
    old, new = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
    marked = {"finalEarningsTransferred": True, "finalEarnings": 1000.5}
    first = platform.participation(campaign_id, earningsTransferredAt=old, **marked)
    platform.participation(campaign_id, earningsTransferredAt=new, **marked)
    undated = platform.participation(campaign_id, finalEarningsTransferred=True)
    due = platform.participation(campaign_id)
    arguments = ("adopt", "--before", "2025-02-01", *SIGNED, "--json")

    assert product.run(*arguments, "--dry-run").json()["adopted"] == 2
    assert rows(schema.adoptions) == []
    assert product.run(*arguments).json()["adopted"] == 2

    found = {one["participation_id"]: one["amount_minor"] for one in rows(schema.adoptions)}
    assert found == {f"oid:{first}": 100_050, f"oid:{undated}": None}
    assert product.run(*arguments).json()["adopted"] == 0
    # Its own payouts are never adopted, however late the time.
    assert product.sweep().paid == 1
    assert [one["amount_minor"] for one in rows(schema.fundings)] == [990_000 - 100_050]
    for dry in (("--dry-run",), ()):
        answer = product.run("adopt", "--before", "2099-01-01", *SIGNED, "--json", *dry)
        assert answer.json()["adopted"] == 1, dry
    assert f"oid:{due}" not in {one["participation_id"] for one in rows(schema.adoptions)}


class Ledgers:
    """A SQLite ledger whose file can be put aside and put back, as an operator does with a backup."""

    def __init__(self, product: Product, folder: Path) -> None:
        self.product = product
        self.file = Path(product.servers["ledger.url"].removeprefix("sqlite:///"))
        self.backup = folder / "backup.db"

    def save(self) -> None:
        shutil.copy(self.file, self.backup)

    def remove(self) -> None:
        for name in (self.file, *self.file.parent.glob(f"{self.file.name}-*")):
            name.unlink(missing_ok=True)

    def put_back(self) -> None:
        self.remove()
        shutil.copy(self.backup, self.file)

    def decisions(self) -> list[tuple[str, str]]:
        engine = open_engine(self.product.servers["ledger.url"])
        found = sorted(rows_of(engine, schema.decisions), key=lambda one: one["batch"])
        engine.dispose()
        return [(one["kind"], one["reason"]) for one in found]

    def sound(self) -> None:
        engine = open_engine(self.product.servers["ledger.url"])
        ledger_is_sound(engine)
        engine.dispose()


@pytest.fixture
def ledgers(product: Product, tmp_path: Path) -> Ledgers:
    return Ledgers(product, tmp_path)


only_sqlite = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


def halts_and_recovers(product: Product, ledgers: Ledgers) -> dict[str, Any]:
    """Two sweeps raise and halt once, `ledger recover` brings back what is lacking, `resume` ends the halt."""
    for arguments in (("--once", "--json"), ("--once",)):
        answer = product.run(*arguments)
        assert (answer.code, answer.stdout) == (4, ""), answer
        assert "ledger_behind" in answer.stderr
    [(kind, reason)] = ledgers.decisions()
    assert (kind, reason.partition(":")[0]) == ("halt", "ledger_behind")
    recovered = product.run("ledger", "recover", *SIGNED, "--json")
    assert recovered.code == 0, recovered
    # Somebody is due, and is not paid before a person says so.
    assert product.run("--once").code == 4
    assert done(product.run("resume", *SIGNED, "--json")) == "resumed"
    return recovered.json()


@only_sqlite
def test_an_older_copy_halts_and_is_recovered(product: Product, platform: Platform, ledgers: Ledgers) -> None:
    campaign_id = platform.campaign(budget=99_000, targetImpressions=2000)
    before = [platform.participation(campaign_id)]
    assert product.sweep().paid == 1
    ledgers.save()
    lost = [platform.participation(campaign_id), platform.participation(campaign_id)]
    assert product.sweep().paid == 2
    product.run("payouts", "reverse", key_of(lost[1]), *SIGNED)
    ledgers.put_back()
    with pytest.raises(InvariantBroken, match="an older copy of it was put in place"):
        product.sweep()
    later = platform.participation(campaign_id)

    recovered = halts_and_recovers(product, ledgers)

    assert (recovered["posted"], recovered["reversed"], recovered["unresolved"]) == (2, 1, [])
    assert product.sweep().paid == 1
    assert product.sweep().paid == 0
    for one in (*before, lost[0], later):
        assert gained(platform, one) == all_of(3300), one
    assert gained(platform, lost[1]) == all_of(0)
    assert sorted(lines(platform)) == [("earnings_credit", 3300.0)] * 4 + [("earnings_reversal", -3300.0)]
    ledgers.sound()


@only_sqlite
def test_a_new_ledger_in_place_of_the_old_is_recovered(product: Product, platform: Platform, ledgers: Ledgers) -> None:
    campaign_id = platform.campaign(budget=99_000, targetImpressions=2000)
    paid = [platform.participation(campaign_id) for _ in range(3)]
    assert product.sweep().paid == 3
    ledgers.remove()
    product.migrate()
    unpaid = platform.participation(campaign_id)

    recovered = halts_and_recovers(product, ledgers)

    assert recovered["posted"] == 3
    assert product.sweep().paid == 1
    for one in (*paid, unpaid):
        assert gained(platform, one) == all_of(3300)
    ledgers.sound()


@only_sqlite
@pytest.mark.parametrize("saved", ["before it was paid", "while it was held"])
def test_what_was_released_is_not_locked_again_by_a_recovery(
    product: Product, platform: Platform, ledgers: Ledgers, saved: str
) -> None:
    """Its owner may have withdrawn it: locked again, the wallet would go below zero."""
    product.settings["payout.hold_days"] = 1
    ledgers.save()
    paid = platform.participation(platform.campaign())
    product.sweep()
    if saved == "while it was held":
        ledgers.save()
    product.days = 2
    assert product.keep_house().earnings_released == 1
    product.days = 0
    platform.database["wallets"].update_one({}, {"$inc": {"balance": -3400, "withdrawableBalance": -3400}})
    ledgers.put_back()
    platform.participation(platform.campaign())

    recovered = halts_and_recovers(product, ledgers)

    assert (recovered["released"], recovered["unresolved"]) == (1, [])
    product.keep_house()
    left = all_of(-100) | {"totalEarnings": 3300.0}
    assert gained(platform, paid) == left
    assert sorted(kind for kind, _ in lines(platform)) == ["earnings_hold", "earnings_release"]
    ledgers.sound()


@only_sqlite
def test_what_is_recovered_is_released_when_its_own_days_are_over(
    product: Product, platform: Platform, ledgers: Ledgers
) -> None:
    """They count from its statement line, and not from the recovery."""
    product.settings["payout.hold_days"] = 3
    ledgers.save()
    paid = platform.participation(platform.campaign())
    product.sweep()
    days_ago = datetime.now(UTC) - timedelta(days=2)
    platform.database["transactions"].update_one({}, {"$set": {"processedAt": days_ago}})
    ledgers.put_back()
    platform.participation(platform.campaign())
    halts_and_recovers(product, ledgers)
    assert gained(platform, paid)["heldBalance"] == 3300

    product.days = 2
    assert product.keep_house().earnings_released == 1

    assert gained(platform, paid) == all_of(3300)
    ledgers.sound()


@only_sqlite
def test_a_wallet_that_saw_more_takes_what_comes_after_a_recovery(
    product: Product, platform: Platform, ledgers: Ledgers
) -> None:
    """The release is lost and is no payment: without it the counter would lag behind what the wallet has seen."""
    product.settings["payout.hold_days"] = 1
    first = platform.participation(platform.campaign())
    product.sweep()
    product.days = 2
    assert product.keep_house().earnings_released == 1
    product.days = 0
    ledgers.remove()
    product.migrate()
    streamer_id = platform.read("campaignparticipations", first)["streamerId"]
    platform.participation(platform.campaign(), streamerId=streamer_id)

    recovered = halts_and_recovers(product, ledgers)

    assert (recovered["posted"], recovered["versions_raised"]) == (1, 1)
    assert product.sweep().paid == 1
    assert gained(platform, first)["balance"] == 6600
    ledgers.sound()


@only_sqlite
def test_on_an_older_copy_nobody_decides_and_nothing_is_released(
    product: Product, platform: Platform, ledgers: Ledgers
) -> None:
    product.settings["payout.hold_days"] = 1
    campaign_id = platform.campaign(budget=99_000, targetImpressions=2000)
    first = platform.participation(campaign_id)
    product.sweep()
    ledgers.save()
    second = platform.participation(campaign_id)
    product.sweep()
    ledgers.put_back()
    product.days = 5
    documents = all_documents(platform.database)

    with pytest.raises(InvariantBroken, match="ledger_behind"):
        product.keep_house()
    assert ledgers.decisions() == []
    for arguments in (("repay", str(second)), ("reverse", key_of(first))):
        answer = product.run("payouts", *arguments, *SIGNED)
        assert (answer.code, "ledger_behind" in answer.stderr) == (4, True), answer

    assert [kind for kind, _ in ledgers.decisions()] == ["halt"]
    assert all_documents(platform.database) == documents
    ledgers.sound()


def test_a_halt_stops_sweeps_until_a_person_resumes(product: Product, platform: Platform, engine: Engine) -> None:
    product.settings["safety.payouts_per_hour_max"] = 1
    campaign_id = platform.campaign(budget=99_000, targetImpressions=2000)
    for _ in range(2):
        platform.participation(campaign_id)
    for _ in range(2):
        answer = product.run("--once")
        assert answer.code == 4
        assert "Paying is halted since" in answer.stderr
    assert rows_of(engine, schema.payouts) == []
    checked = product.run("--full-check", "--json")
    assert (checked.code, checked.json()["verdict"], checked.json()["exit_code"]) == (4, "halted", 4), (
        "whatever it found"
    )
    assert done(product.run("resume", *SIGNED, "--json")) == "resumed"
    product.settings["safety.payouts_per_hour_max"] = 10
    assert product.sweep().paid == 2
