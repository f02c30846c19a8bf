"""People's decisions: each is a row with who, when, why and the state before; what is refused writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.plan import NewAdoption, NewDecision
from reconciler.errors import Halted, UsageError
from reconciler.ledger import schema
from reconciler.ledger.journal.decisions import REQUESTED, Adjustment, Decisions, Signature
from reconciler.ledger.journal.posting import SqlJournal
from tests.support.ledger import (
    FULL,
    NOW,
    STAMP,
    SetClock,
    asking,
    balances,
    decisions_of,
    everything,
    journal_of,
    ledger_is_sound,
    request,
    rows_of,
)

ASHA = Signature(by="asha", reason="counted twice")
BIREN = Signature(by="biren", reason="I saw it too")
P1 = "payout:str:p1:1"
LARGE = {"approval_threshold_minor": {"INR": FULL}}


class LedgerDriver:
    """A journal, and decisions with or without four eyes, by one clock that every step moves a second."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()

    def journal(self, **rules: Any) -> SqlJournal:
        return journal_of(self.engine, self.clock, **rules)

    def decide(self, *, four_eyes: bool = False) -> Decisions:
        self.clock.advance(timedelta(seconds=1))
        return decisions_of(self.engine, self.clock, four_eyes=four_eyes)

    def ask(self, one: PayoutRequest, **rules: Any) -> Outcome:
        return self.journal(**rules).post(asking([one]), STAMP).outcomes[one.key]

    def request(self, name: str = "p1", **options: Any) -> PayoutRequest:
        return request(name, facts_at=self.clock.now, **options)

    def pay(self, name: str = "p1", **options: Any) -> str:
        one = self.request(name, **options)
        assert self.ask(one) is Outcome.NEW
        return one.key

    def hold(self, name: str = "p1", **options: Any) -> str:
        """A payout that waits for approval."""
        one = self.request(name, **options)
        assert self.ask(one, **LARGE) is Outcome.OVER_APPROVAL_THRESHOLD
        return one.key

    def decisions(self) -> list[dict[str, Any]]:
        """In the order in which they were taken; ``state_before`` as it was."""
        rows = sorted(rows_of(self.engine, schema.decisions), key=lambda row: row["batch"])
        return [row | {"state_before": json.loads(row["state_before"])} for row in rows]


@pytest.fixture
def office(engine: Engine) -> LedgerDriver:
    return LedgerDriver(engine)


def row(office: LedgerDriver, **changes: Any) -> dict[str, Any]:
    """A decision taken just now, in the last batch."""
    [head] = rows_of(office.engine, schema.chain_head)
    kind, subject = changes["kind"], changes["subject"]
    return {
        "decision_key": f"{kind}:{subject}:{office.clock.now:%Y-%m-%dT%H:%M:%S.%f}",
        "batch": head["batch"],
        "decided_by": "asha",
        "reason": "counted twice",
        "amount_minor": None,
        "currency": None,
        "occurred_at": office.clock.now,
    } | changes


def test_an_approval_says_who_and_what_and_the_payout_goes_through(office: LedgerDriver) -> None:
    key = office.hold()

    assert office.decide().approve(key, ASHA) == "approved"

    before = {"hold": "hold:str:p1:1", "state": "held"}
    assert office.decisions() == [
        row(office, kind="approve", subject=key, state_before=before, amount_minor=FULL, currency="INR")
    ]
    assert rows_of(office.engine, schema.payouts) == []
    assert office.ask(office.request(), **LARGE) is Outcome.NEW
    assert [(one["event"], one["reason"]) for one in rows_of(office.engine, schema.hold_events)] == [
        ("closed", "paid"),
        ("opened", "over_approval_threshold"),
    ]
    ledger_is_sound(office.engine)


def test_an_approval_is_an_upper_bound_while_viewers_go_on(office: LedgerDriver) -> None:
    """Held anew for each view that came meanwhile, nobody on a running stream could ever be paid."""
    key = office.hold()
    office.decide().approve(key, ASHA)

    assert office.ask(office.request(impressions=2007, budget=9900), **LARGE) is Outcome.NEW

    [paid] = rows_of(office.engine, schema.payouts)
    assert (paid["impressions"], paid["impressions_paid"], paid["gross_minor"]) == (2000, 2000, FULL)
    ledger_is_sound(office.engine)


def test_an_approval_takes_the_amount_that_the_person_saw(office: LedgerDriver) -> None:
    key = office.hold(impressions=2007, budget=9900)

    with pytest.raises(UsageError, match=r"waits for 3311\.55 INR now: no more can be approved"):
        office.decide().approve(key, ASHA, 331_156)
    office.decide().approve(key, ASHA, FULL)

    assert office.decisions()[-1]["amount_minor"] == FULL
    assert office.ask(office.request(impressions=2007, budget=9900), **LARGE) is Outcome.NEW
    assert [one["gross_minor"] for one in rows_of(office.engine, schema.payouts)] == [FULL]


@pytest.mark.parametrize("changed", [{"campaign": "c2"}, {"streamer": "another"}, {"currency": "USD"}])
def test_an_approval_covers_the_campaign_streamer_and_currency_that_were_held(
    office: LedgerDriver, changed: dict[str, str]
) -> None:
    """The document was edited since: the same number of minor units is another payment."""
    office.decide().approve(office.hold(), ASHA)
    office.clock.advance(timedelta(seconds=1))

    assert office.ask(office.request(**changed), **LARGE) in (
        Outcome.OVER_APPROVAL_THRESHOLD,
        Outcome.CURRENCY_CHANGED,
    )
    assert rows_of(office.engine, schema.payouts) == []


def test_a_halt_that_came_after_the_one_that_was_seen_is_not_ended(office: LedgerDriver) -> None:
    office.decide().halt("chain_broken", "batch 7")
    seen = office.clock.now
    office.decide().resume(ASHA, seen)
    office.decide().halt("ledger_behind", "an older copy")

    with pytest.raises(UsageError, match=r"halted again at .*: ledger_behind: an older copy"):
        office.decide().resume(BIREN, seen)
    assert office.decide().is_halted()

    assert office.decide().resume(BIREN) == "resumed"


def test_the_last_approval_of_a_payout_counts(office: LedgerDriver) -> None:
    """Another person saw less and approved that, before it was paid: no more than that is paid."""
    key = office.hold(impressions=2001, budget=9900)
    office.decide().approve(key, ASHA)
    office.decide().approve(key, BIREN, FULL)

    assert office.ask(office.request(impressions=2001, budget=9900), **LARGE) is Outcome.NEW

    [payout] = rows_of(office.engine, schema.payouts)
    assert payout["gross_minor"] == FULL


def test_an_approval_reserves_nothing(office: LedgerDriver) -> None:
    key = office.hold()
    office.decide().approve(key, ASHA)
    office.pay("p2")
    assert office.ask(office.request(), **LARGE) is Outcome.OVER_BUDGET
    ledger_is_sound(office.engine)


def test_a_rejection_is_final_until_a_person_repays(office: LedgerDriver) -> None:
    key = office.hold()

    assert office.decide().reject(key, ASHA) == "rejected"

    before = {"hold": "hold:str:p1:1", "state": "held"}
    assert office.decisions() == [
        row(office, kind="reject", subject=key, state_before=before, amount_minor=FULL, currency="INR")
    ]
    closed = [one["reason"] for one in rows_of(office.engine, schema.hold_events) if one["event"] == "closed"]
    assert closed == ["rejected_by_person"]
    for rules in (LARGE, {}):
        assert office.ask(office.request(), **rules) is Outcome.REJECTED_BY_PERSON
    assert _repay(office, 1).outcomes == {key: Outcome.NEW}
    ledger_is_sound(office.engine)


def test_a_reversal_mirrors_every_posting(office: LedgerDriver) -> None:
    key = office.pay(fee_bps=1000, budget=10_000)
    assert balances(office.engine)["platform:fees"] == 33_000

    assert office.decide().reverse(key, ASHA) == "reversed"

    assert balances(office.engine) == {
        "brand:str:brand:funding": -1_000_000,
        "campaign:str:c1:escrow": 1_000_000,
        "platform:fees": 0,
        "streamer:s-p1:wallet": 0,
    }
    before = {"payout_key": key, "amount_minor": 297_000, "lies": "wallet"}
    subject = f"reversal:{key}"
    decision = row(office, kind="reverse", subject=subject, state_before=before, amount_minor=297_000, currency="INR")
    assert office.decisions() == [decision]
    payout, reversal = rows_of(office.engine, schema.payouts)
    assert reversal == payout | {
        "payout_key": subject,
        "sequence": 3,
        "batch": 2,
        "kind": "reversal",
        "gross_minor": -FULL,
        "fee_minor": -33_000,
        "amount_minor": -297_000,
        "trigger": "person",
        "run_id": "by-hand",
        "created_at": office.clock.now,
        "reverses": key,
        "decision_key": decision["decision_key"],
    }
    entry = rows_of(office.engine, schema.entries)[-1]
    assert (entry["key"], entry["corrects"], entry["reason"]) == (subject, key, "counted twice")
    ledger_is_sound(office.engine)


def _repay(office: LedgerDriver, n: int) -> Any:
    one = request(facts_at=office.clock.now, n=n, budget=99_000)
    decision = NewDecision(
        decision_key=f"repay:{one.key}",
        kind="repay",
        subject=one.key,
        decided_by="asha",
        reason="counted twice",
        state_before={"settled": "reversed"},
        amount_minor=FULL,
        currency="INR",
    )
    asked = PayoutRequest(due=one.due, facts_at=one.facts_at, n=n, decision_key=decision.decision_key)
    return office.journal(**LARGE).repay(asked, decision, STAMP)


def test_a_repayment_is_one_batch_with_its_decision(office: LedgerDriver) -> None:
    office.pay()
    office.decide().reverse(P1, ASHA)
    office.clock.advance(timedelta(seconds=1))

    posted = _repay(office, 2)

    assert (posted.outcomes, posted.paid_minor) == ({"payout:str:p1:2": Outcome.NEW}, {"INR": FULL})
    decision = office.decisions()[-1]
    [payout] = [one for one in rows_of(office.engine, schema.payouts) if one["n"] == 2]
    assert decision == row(
        office,
        decision_key="repay:payout:str:p1:2",
        kind="repay",
        subject="payout:str:p1:2",
        state_before={"settled": "reversed"},
        amount_minor=FULL,
        currency="INR",
    )
    assert (payout["decision_key"], payout["batch"]) == (decision["decision_key"], decision["batch"])
    ledger_is_sound(office.engine)
    before = everything(office.engine)
    assert _repay(office, 2).outcomes == {"payout:str:p1:2": Outcome.EXISTS}
    assert everything(office.engine) == before


def test_a_repayment_waits_for_the_end_of_a_halt_too(office: LedgerDriver) -> None:
    """A halt stops every payment, also one that a person decided: what is wrong with the ledger is wrong for it too."""
    office.pay()
    office.decide().reverse(P1, ASHA)
    office.decide().halt("chain_broken", "batch 1")
    before = everything(office.engine)

    with pytest.raises(Halted, match="chain_broken: batch 1"):
        _repay(office, 2)

    assert everything(office.engine) == before


def test_an_adjustment_moves_its_amount(office: LedgerDriver) -> None:
    office.pay(budget=10_000)
    adjustment = Adjustment(
        key="t-1",
        from_account="campaign:str:c1:escrow",
        to_account="streamer:s-p1:wallet",
        amount_minor=12_34,
        currency="INR",
    )

    assert office.decide().adjust(adjustment, ASHA) == "adjusted"

    assert balances(office.engine)["streamer:s-p1:wallet"] == FULL + 12_34
    assert office.decisions() == [
        row(
            office,
            kind="adjust",
            subject="adjustment:t-1",
            state_before={"state": "none"},
            amount_minor=12_34,
            currency="INR",
        )
    ]
    entry = rows_of(office.engine, schema.entries)[-1]
    assert (entry["key"], entry["kind"], entry["reason"]) == ("adjustment:t-1", "adjustment", "counted twice")
    [position] = rows_of(office.engine, schema.wallet_positions)
    assert position["version"] == 2
    ledger_is_sound(office.engine)


def test_a_halt_and_who_ended_it(office: LedgerDriver) -> None:
    office.decide().halt("ledger_behind", "an older copy")
    halt = row(
        office, kind="halt", subject="paying", decided_by="reconciler", reason="ledger_behind: an older copy"
    ) | {"state_before": {}}
    since = office.clock.now.isoformat()
    assert office.decisions() == [halt]
    assert office.decide().is_halted()

    office.decide().halt("chain_broken", "a second cause ends nothing and is not kept")
    assert office.decisions() == [halt]

    assert office.decide().resume(BIREN) == "resumed"
    state = {"halt": halt["decision_key"], "cause": "ledger_behind: an older copy", "since": since}
    assert office.decisions()[1] == row(
        office, kind="resume", subject="paying", state_before=state, decided_by="biren", reason="I saw it too"
    )
    assert not office.decide().is_halted()
    office.decide().halt("chain_broken", "again")
    assert office.decide().is_halted()


def adoption(name: str, amount_minor: int | None = 100_000) -> NewAdoption:
    return NewAdoption(
        participation_id=f"str:{name}",
        campaign_id="str:c1",
        streamer_id=f"s-{name}",
        amount_minor=amount_minor,
        currency="INR",
        decision_key="adopt:1",
    )


def test_what_is_adopted_is_never_paid_and_came_out_of_the_budget(office: LedgerDriver) -> None:
    assert office.decide().adopt([adoption("old"), adoption("older", None)], ASHA, "adopt:1") == 2
    taken_at = office.clock.now
    assert office.decide().adopt([adoption("old")], ASHA, "adopt:2") == 0

    [decision] = office.decisions()
    assert (decision["decided_by"], decision["reason"], decision["occurred_at"]) == ("asha", "counted twice", taken_at)
    assert decision["state_before"] == {"state": "marked_paid_elsewhere", "at": taken_at.isoformat()}
    assert [one["participation_id"] for one in rows_of(office.engine, schema.adoptions)] == ["str:old", "str:older"]
    assert office.ask(office.request("old")) is Outcome.SETTLED_BEFORE_US
    office.pay("new", budget=10_000)
    assert [one["amount_minor"] for one in rows_of(office.engine, schema.fundings)] == [900_000]
    ledger_is_sound(office.engine)


def test_under_four_eyes_another_person_approves(office: LedgerDriver) -> None:
    key = office.pay()
    subject = f"reversal:{key}"
    assert office.decide(four_eyes=True).reverse(key, ASHA) == REQUESTED
    asked = office.decisions()[0]
    state = {"amount_minor": FULL, "state": "paid"}
    assert asked == row(office, kind="request", subject=subject, state_before=state)
    assert len(rows_of(office.engine, schema.payouts)) == 1

    before = everything(office.engine)
    with pytest.raises(UsageError, match="was asked for by asha: another person has to approve it"):
        office.decide(four_eyes=True).approve(subject, ASHA)
    with pytest.raises(UsageError, match="was asked for by asha already and waits for approval"):
        office.decide(four_eyes=True).reverse(key, BIREN)
    assert everything(office.engine) == before

    assert office.decide(four_eyes=True).approve(subject, BIREN) == "reversed"
    approval = office.decisions()[1]
    assert (approval["kind"], approval["decided_by"]) == ("approve", "biren")
    assert approval["state_before"]["request"] == asked["decision_key"]
    assert balances(office.engine)["streamer:s-p1:wallet"] == 0
    with pytest.raises(UsageError, match="does not wait for approval"):
        office.decide(four_eyes=True).approve(subject, BIREN)
    ledger_is_sound(office.engine)


def test_what_was_asked_for_can_be_rejected_and_asked_for_again(office: LedgerDriver) -> None:
    key = office.pay()
    office.decide(four_eyes=True).reverse(key, ASHA)
    asked = office.decisions()[0]
    assert office.decide(four_eyes=True).reject(f"reversal:{key}", BIREN) == "rejected"
    state = {"requested_by": "asha", "request": asked["decision_key"]}
    assert office.decisions()[1]["state_before"] == state
    assert len(rows_of(office.engine, schema.payouts)) == 1

    with pytest.raises(UsageError, match="does not wait for approval"):
        office.decide(four_eyes=True).approve(f"reversal:{key}", BIREN)
    assert office.decide(four_eyes=True).reverse(key, BIREN) == REQUESTED


def moving(**changes: Any) -> Adjustment:
    given: dict[str, Any] = {
        "key": "t-2",
        "from_account": "campaign:str:c1:escrow",
        "to_account": "streamer:s-p1:wallet",
        "amount_minor": 1,
        "currency": "INR",
    }
    return Adjustment(**given | changes)


REFUSED: dict[str, tuple[Callable[[LedgerDriver], object], str]] = {
    "reverse an unknown key": (
        lambda o: o.decide().reverse("payout:str:p9:1", ASHA),
        "there is no payout payout:str:p9",
    ),
    "reverse a reversal": (
        lambda o: o.decide().reverse("reversal:payout:str:p2:1", ASHA),
        "there is no payout reversal",
    ),
    "reverse a funding": (lambda o: o.decide().reverse("fund:str:c1:1", ASHA), "there is no payout fund"),
    "reverse twice": (lambda o: o.decide().reverse("payout:str:p2:1", ASHA), "payout:str:p2:1 was reversed before"),
    "ask to reverse twice": (
        lambda o: o.decide(four_eyes=True).reverse("payout:str:p2:1", ASHA),
        "payout:str:p2:1 was reversed before",
    ),
    "approve what is paid": (lambda o: o.decide().approve(P1, ASHA), f"{P1} does not wait for approval"),
    "approve an unknown key": (lambda o: o.decide().approve("payout:str:p9:1", ASHA), "does not wait for approval"),
    "approve no key": (lambda o: o.decide().approve("p3", ASHA), "p3 does not wait for approval"),
    "approve what waits for budget": (lambda o: o.decide().approve("payout:str:p4:1", ASHA), "does not wait"),
    "approve a number nobody asked for": (
        lambda o: o.decide().approve("payout:str:p3:2", ASHA),
        "payout:str:p3:2 does not wait for approval",
    ),
    "reject a number nobody asked for": (lambda o: o.decide().reject("payout:str:p3:01", ASHA), "does not wait"),
    "reject what is paid": (lambda o: o.decide().reject(P1, ASHA), f"{P1} does not wait for approval"),
    "resume when nothing is halted": (lambda o: o.decide().resume(ASHA), "paying is not halted"),
    "a key that was used": (lambda o: o.decide().adjust(moving(key="t-1"), ASHA), "the key t-1 was used before"),
    "no key": (lambda o: o.decide().adjust(moving(key=" "), ASHA), "--key takes a text of 1 to 200 characters"),
    "a currency the account does not have": (
        lambda o: o.decide().adjust(moving(currency="USD"), ASHA),
        "there is no account campaign:str:c1:escrow in USD",
    ),
    "an account that does not exist": (
        lambda o: o.decide().adjust(moving(to_account="streamer:nobody:wallet"), ASHA),
        "there is no account streamer:nobody:wallet in INR",
    ),
    "an escrow that is too small": (
        lambda o: o.decide().adjust(moving(amount_minor=10**9), ASHA),
        "campaign:str:c1:escrow holds 6699.99 INR, which is less than that",
    ),
    "nothing": (lambda o: o.decide().adjust(moving(amount_minor=0), ASHA), "moves an amount above zero"),
    "less than nothing": (lambda o: o.decide().adjust(moving(amount_minor=-5), ASHA), "moves an amount above zero"),
    "from an account to itself": (
        lambda o: o.decide().adjust(moving(to_account="campaign:str:c1:escrow"), ASHA),
        "between two accounts",
    ),
    "no name": (lambda o: o.decide().reverse(P1, Signature(by=" ", reason="x")), "--by takes a text"),
    "no reason": (lambda o: o.decide().reverse(P1, Signature(by="asha", reason="")), "--reason takes a text"),
    "a reason of a whole book": (
        lambda o: o.decide().reverse(P1, Signature(by="asha", reason="x" * 1001)),
        "--reason takes a text of 1 to 1000 characters",
    ),
    "a reason no database takes": (
        lambda o: o.decide().reverse(P1, Signature(by="asha", reason="\x00")),
        "--reason takes a text",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_writes_nothing(office: LedgerDriver, case: str) -> None:
    """p1 is paid, p2 was reversed, p3 waits for approval, p4 for budget; t-1 was used."""
    office.pay("p1", budget=10_000)
    office.pay("p2", budget=10_000)
    office.decide().reverse("payout:str:p2:1", ASHA)
    office.decide().adjust(moving(key="t-1"), ASHA)
    office.hold("p3", budget=10_000)
    one = request("p4", campaign="c2", budget=1, facts_at=office.clock.now)
    assert office.ask(one) is Outcome.OVER_BUDGET
    before = everything(office.engine)
    act, sentence = REFUSED[case]

    with pytest.raises(UsageError) as refused:
        act(office)

    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert everything(office.engine) == before


def test_every_decision_is_in_the_chain(office: LedgerDriver) -> None:
    key = office.pay()
    office.decide().reverse(key, ASHA)
    office.decide().halt("x", "y")
    office.decide().resume(ASHA)
    assert office.clock.now > NOW
    assert len(rows_of(office.engine, schema.chain)) == 4
    ledger_is_sound(office.engine)
