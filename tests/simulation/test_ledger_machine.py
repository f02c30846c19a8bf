"""Everything that a ledger can be asked, in random order and at once, against a ledger on paper.

Each step is an action that the product and the bookkeeper both carry out: their answers must agree, and so must what
they hold afterwards. Of actions that ran at once in threads some order must explain all answers and the result, as if
they had come one after the other. After every step invariants 1-6 of DESIGN.md 9 are checked on the rows themselves.

``LEDGER_MACHINE_EXAMPLES`` and ``LEDGER_MACHINE_STEPS`` make it look longer; see docs/testing.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import permutations
from random import Random
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from reconciler.ledger.journal.decisions import Adjustment
from tests.support.fresh_ledgers import FreshLedgers, postgres_ledgers, sqlite_ledgers
from tests.support.journal_copy import JournalCopy
from tests.support.ledger_driver import LedgerDriver, Time
from tests.support.model_ledger import ModelLedger, ModelSettings, Pool, escrow_of
from tests.support.simulated_world import CAMPAIGNS, MEMBERS, YEN, Ask, Campaign, Member, World, pool_of, shares_of

EXAMPLES = int(os.environ.get("LEDGER_MACHINE_EXAMPLES", "25"))
STEPS = int(os.environ.get("LEDGER_MACHINE_STEPS", "30"))
SECONDS_A_STEP = 2
VERIFY_EVERY = 10
HALTED_STEPS_MAX = 3
"""Then somebody resumes: of a ledger that is halted for good nothing is learned."""

SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    derandomize="CI" in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Without explaining, which would only repeat what threads end differently each time.
    phases=[Phase.reuse, Phase.generate, *([] if "LEDGER_MACHINE_NO_SHRINK" in os.environ else [Phase.shrink])],
    print_blob=True,
)

SEEDS = st.integers(0, 2**32 - 1)
"""Choices within a step come from these, not from strategies: threads end differently each time, and with them differs
what there is to choose from, which Hypothesis takes for a fault of the test."""
PEOPLE = st.sampled_from(["asha", "ravi"])
EVERYTHING = {"INR": 1, "JPY": 1, "KWD": 1}
"""A threshold that every payout reaches."""
HOUSES = st.builds(
    ModelSettings,
    hold_days=st.sampled_from([0, 3, 3]),
    threshold_minor=st.sampled_from([{}, {}, {}, {"INR": 330_001}, {"INR": 1, "JPY": 1, "KWD": 12_345}]),
    payouts_per_hour_max=st.sampled_from([None] * 5 + [2]),
    amount_per_hour_max_minor=st.sampled_from([{}] * 5 + [{"INR": 700_000}]),
)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do, for the product and for the bookkeeper; both answer in the same words."""

    name: str
    office: Callable[[LedgerDriver], Any]
    book: Callable[[ModelLedger], Any]


class LedgerMachine(RuleBasedStateMachine):
    """One ledger's life."""

    def __init__(self, ledgers: FreshLedgers) -> None:
        super().__init__()
        self.on_exit = ExitStack()
        self.time = Time()
        self.office = LedgerDriver(self.on_exit.enter_context(ledgers()), self.time)
        self.book = ModelLedger()
        self.copy = JournalCopy()
        self.world = World()
        self.fee_bps = 0
        self.steps = 0
        self.halted_for = 0

    def teardown(self) -> None:
        try:
            self.copy.verify(self.office.engine)
        finally:
            self.on_exit.close()

    @initialize(house=HOUSES, fee_bps=st.sampled_from([0, 333]), halves=st.tuples(*[st.integers(3, 10)] * 3))
    def begin(self, house: ModelSettings, fee_bps: int, halves: tuple[int, int, int]) -> None:
        self.office.house = self.book.house = house
        self.fee_bps = fee_bps
        for campaign, count in zip(CAMPAIGNS, halves, strict=True):
            self.world.write(campaign, self.time.now, _budget(campaign, count, campaign.currency), campaign.currency)

    # The world goes on

    @rule(delta=st.sampled_from([20, 45, 3600, 86_400 * 2]))
    def wait(self, delta: int) -> None:
        self.time.advance(timedelta(seconds=delta))

    @rule(campaign=st.sampled_from(CAMPAIGNS), halves=st.lists(st.integers(0, 12), min_size=1, max_size=3), seed=SEEDS)
    def edit_the_budget(self, campaign: Campaign, halves: list[int], seed: int) -> None:
        """Up or down, once or several times, and each time somebody asks to be paid out of it."""
        chance = Random(seed)
        for count in halves:
            self._edit_the_budget(campaign, count)
            self._run(self._posting(chance, of=campaign))

    def _edit_the_budget(self, campaign: Campaign, halves: int) -> None:
        self._tick()
        _, currency = self.world.read(campaign, self.time.now)
        self.world.write(campaign, self.time.now, _budget(campaign, halves, currency), currency)

    def _edit_the_currency(self, campaign: Campaign, currency: str) -> None:
        self._tick()
        self.world.write(campaign, self.time.now, _budget(campaign, 6, currency), currency)

    @rule(currency=st.sampled_from(["INR", "JPY", "KWD", "JPY", "JPY"]), seed=SEEDS)
    def edit_the_currency(self, currency: str, seed: int) -> None:
        """Of a campaign whose rate is one in every currency; also between a settlement and its payment."""
        chance = Random(seed)
        self._edit_the_currency(YEN, currency)
        self._run(self._posting(chance, of=YEN) if chance.random() < 0.5 else self._line_posting(chance))

    @rule(house=HOUSES)
    def restart_with(self, house: ModelSettings) -> None:
        self._restart_with(house)

    def _restart_with(self, house: ModelSettings) -> None:
        self.office.house = self.book.house = house

    # One action at a time

    @rule(seed=SEEDS)
    def post(self, seed: int) -> None:
        self._run(self._posting(Random(seed)))

    @rule(seed=SEEDS)
    def post_again(self, seed: int) -> None:
        """The same batch twice: the second time nothing is new."""
        action = self._posting(Random(seed))
        self._run(action)
        self._run(action, ticks=False)

    @rule(seed=SEEDS)
    def rehearse(self, seed: int) -> None:
        asks = self._asks(Random(seed))
        self._run(
            Action("rehearse", lambda office: office.rehearse(asks), lambda book: book.rehearse(asks, self.time.now))
        )

    @rule(seed=SEEDS)
    def repay(self, seed: int) -> None:
        self._run(self._repayment(Random(seed)))

    @rule(seed=SEEDS, currency=st.sampled_from([None, None, "INR", "JPY"]))
    def settle_a_pool(self, seed: int, currency: str | None) -> None:
        """Frozen, with the currency changed before anything of it was paid, or not."""
        chance = Random(seed)
        self._run(self._freezing(chance))
        if currency is not None:
            self._edit_the_currency(YEN, currency)
        self._run(self._line_posting(chance))

    @rule(seed=SEEDS)
    def pay_lines(self, seed: int) -> None:
        self._run(self._line_posting(Random(seed)))

    @rule(seed=SEEDS, by=PEOPLE)
    def approve(self, seed: int, by: str) -> None:
        """And the payout asks again, for the same amount or for another."""
        chance = Random(seed)
        self._let_somebody_wait(chance)
        subject = chance.choice(self._subjects())
        self._run(Action("approve", lambda office: office.approve(subject, by), lambda book: book.approve(subject, by)))
        for member in MEMBERS:
            if subject == f"payout:{member.tagged}:1":
                self._run(self._posting_of([self._ask(member, 0, chance.choice([0, 500]))]))

    @rule(seed=SEEDS, by=PEOPLE)
    def reject(self, seed: int, by: str) -> None:
        """What is rejected keeps no money from going back, also where it is a share of a pool."""
        chance = Random(seed)
        if chance.random() < 0.5:
            self._restart_with(replace(self.book.house, threshold_minor=EVERYTHING))
            self._run(self._line_posting(chance))
        self._let_somebody_wait(chance)
        subject = chance.choice(self._subjects())
        self._run(Action("reject", lambda office: office.reject(subject, by), lambda book: book.reject(subject)))
        for member in MEMBERS:
            if subject == f"payout:{member.tagged}:1" and chance.random() < 0.5:
                self._run(self._refund(chance, of=member.campaign))

    @rule(seed=SEEDS)
    def reverse(self, seed: int) -> None:
        self._run(self._reversal(Random(seed)))

    @rule(seed=SEEDS)
    def reverse_twice(self, seed: int) -> None:
        action = self._reversal(Random(seed))
        self._run(action)
        self._run(action)

    @rule(seed=SEEDS)
    def adjust(self, seed: int) -> None:
        self._run(self._adjustment(Random(seed)))

    @rule(days=st.sampled_from([0, 1, 3]), seed=SEEDS)
    def release(self, days: int, seed: int) -> None:
        """Twice, since nothing is released twice, with a reversal between or after."""
        chance = Random(seed)
        self.time.advance(timedelta(days=days))
        if chance.random() < 0.3:
            self._run(self._reversal(chance))
        self._run(self._release())
        if chance.random() < 0.3:
            self._run(self._reversal(chance))
        self._run(self._release())

    @rule(seed=SEEDS)
    def refund(self, seed: int) -> None:
        """After it no budget moves anything."""
        chance = Random(seed)
        campaign = chance.choice(CAMPAIGNS)
        self._run(self._refund(chance, of=campaign))
        if chance.random() < 0.3:
            self._edit_the_budget(campaign, 12)
            self._run(self._posting(chance, of=campaign))

    @rule(seed=SEEDS)
    def adopt(self, seed: int) -> None:
        chance = Random(seed)
        self._run(self._adoption(chance) if chance.random() < 0.3 else self._posting(chance))

    @rule()
    def halt(self) -> None:
        # Now and then only: as a rule of its own it would be there as often as posting.
        if self.steps % 4 == 0:
            self._run(Action("halt", lambda office: office.halt(), lambda book: book.halt()))

    @rule()
    def resume(self) -> None:
        self._run(Action("resume", lambda office: office.resume(), lambda book: book.resume()))

    # Several at once

    @rule(seed=SEEDS, count=st.integers(2, 4))
    def post_at_once(self, seed: int, count: int) -> None:
        chance = Random(seed)
        self._run_together([self._posting(chance, least=3) for _ in range(count)])

    @rule(seed=SEEDS, count=st.integers(2, 4))
    def do_at_once(self, seed: int, count: int) -> None:
        """People, money that comes back and posters, all after the same."""
        kinds: list[Callable[[Random], Action]] = [
            *[self._posting] * 3,
            *[self._repayment] * 2,
            self._freezing,
            *[self._reversal] * 3,
            self._adjustment,
            self._line_posting,
            lambda _: self._release(),
            self._refund,
            self._adoption,
        ]
        chance = Random(seed)
        self._run_together([chance.choice(kinds)(chance) for _ in range(count)])

    # What is done

    def _posting(self, chance: Random, least: int = 1, of: Campaign | None = None) -> Action:
        asks = self._asks(chance, least, of)
        held = [member for member in MEMBERS if member.tagged in self.book.holds]
        withdrawn = chance.sample(held, 1) if held and chance.random() < 0.3 else []
        return self._posting_of(asks, withdrawn)

    def _posting_of(self, asks: Sequence[Ask], withdrawn: Sequence[Member] = ()) -> Action:
        return Action(
            f"post {[ask.key for ask in asks]}",
            lambda office: office.post(asks, withdrawn),
            lambda book: book.post(asks, self.time.now, withdrawn),
        )

    def _asks(self, chance: Random, least: int = 1, of: Campaign | None = None) -> list[Ask]:
        """Some participations, some of them twice, on facts of different ages."""
        # One campaign, or all of them, mostly without pools.
        chosen = of or chance.choice((*CAMPAIGNS, CAMPAIGNS[0], CAMPAIGNS[2], None))
        able = [member for member in MEMBERS if chosen is None or member.campaign == chosen]
        members = chance.choices(able, k=chance.randint(least, 8))
        ages = chance.choices([0] * 8 + [5, 5, 30, 31], k=len(members))
        over = chance.choice([0, 0, 1, 500])
        return [self._ask(member, age, over) for member, age in zip(members, ages, strict=True)]

    def _ask(self, member: Member, age: int, over: int) -> Ask:
        facts_at = self.time.now + TICK - timedelta(seconds=age)
        return self.world.ask(member, over=over, facts_at=facts_at, fee_bps=self.fee_bps)

    def _line_posting(self, chance: Random) -> Action:
        """Lines of a pool, paid on facts that may have changed since, with some that were forfeited."""
        frozen = [one for one in CAMPAIGNS if one.tagged in self.book.pools]
        if not frozen:
            return self._freezing(chance)
        campaign = chance.choice(frozen)
        pool = self.book.pools[campaign.tagged]
        of_pool = [member for member in MEMBERS if member.tagged in pool.shares]
        asks = [
            replace(
                self._ask(member, 0, 0),
                impressions=pool.impressions[member.tagged],
                gross_minor=pool.shares[member.tagged],
                settlement_key=f"settlement:{campaign.tagged}:1",
            )
            for member in chance.choices(of_pool, k=chance.randint(1, 4))
        ]
        voided = chance.sample(of_pool, 1) if chance.random() < 0.3 else []
        return Action(
            f"pay lines {[ask.key for ask in asks]}",
            lambda office: office.post(asks, voided=voided),
            lambda book: book.post(asks, self.time.now, voided=voided),
        )

    def _repayment(self, chance: Random) -> Action:
        """Of what was reversed, mostly, under the next number, mostly."""
        reversed_ = sorted({one.ask.member.tagged for one in self.book.payouts.values() if one.is_reversed})
        paid = {one.ask.member.tagged for one in self.book.payouts.values()}
        known = [member for member in MEMBERS if member.tagged in reversed_]
        standing = [member for member in MEMBERS if member.tagged in paid]
        member = chance.choice((*known * 6, *standing * 2, *MEMBERS))
        number = len(self.book.payouts_of(member)) + chance.choice([1, 1, 1, 1, 0])
        ask = replace(self._ask(member, 0, 0), n=max(number, 1))
        ask = replace(ask, decision_key=f"repay:{ask.key}")
        return Action(f"repay {ask.key}", lambda office: office.repay(ask), lambda book: book.repay(ask, self.time.now))

    def _freezing(self, chance: Random) -> Action:
        # Mostly one campaign is settled as a whole: nobody else is paid there any more.
        campaign = chance.choice((*[CAMPAIGNS[1]] * 8, *CAMPAIGNS))
        able = [one for one in MEMBERS if one.campaign == campaign][: chance.randint(1, 3)]
        counts = {member: campaign.target + chance.randint(0, 7) for member in able}
        age = chance.choice([0, 0, 30, 31])
        facts_at = self.time.now + TICK - timedelta(seconds=age)
        budget_minor, currency = self.world.read(campaign, facts_at)
        due = pool_of(campaign, counts, budget_minor, currency)
        shares = shares_of(campaign, counts, currency)
        assert {line.participation.participation_id.tagged: line.share_minor for line in due.lines} == shares
        pool = Pool(currency, {member.tagged: count for member, count in counts.items()}, shares)
        return Action(
            f"freeze {campaign.tagged}",
            lambda office: office.freeze(due, facts_at),
            lambda book: book.freeze(campaign, pool, facts_at, self.time.now),
        )

    def _reversal(self, chance: Random) -> Action:
        if not self.book.payouts:
            return self._posting(chance)
        standing = sorted(key for key, one in self.book.payouts.items() if not one.is_reversed)
        key = chance.choice((*standing * 5, *sorted(self.book.payouts), "payout:str:nobody:1"))
        by, four_eyes = chance.choice(["asha", "ravi"]), chance.choice([False, False, True])
        return Action(
            f"reverse {key}",
            lambda office: office.reverse(key, by, four_eyes=four_eyes),
            lambda book: book.reverse(key, by, four_eyes=four_eyes),
        )

    def _adjustment(self, chance: Random) -> Action:
        known = sorted(self.book.balances) or [("platform:fees", "INR")]
        from_account, currency = chance.choice(known)
        to_account, _ = chance.choice([one for one in known if one[1] == currency])
        adjustment = Adjustment(
            key=f"key-{chance.randint(1, 30)}",
            from_account=from_account,
            to_account=to_account,
            amount_minor=chance.choice([0, 1, 1000, 150_000]),
            currency=currency,
        )
        return Action(
            f"adjust {adjustment}",
            lambda office: office.adjust(adjustment),
            lambda book: book.adjust(
                adjustment.key, from_account, to_account, adjustment.amount_minor, adjustment.currency
            ),
        )

    def _release(self) -> Action:
        return Action("release", lambda office: office.release(), lambda book: book.release(self.time.now))

    def _refund(self, chance: Random, of: Campaign | None = None) -> Action:
        campaign = of or chance.choice(CAMPAIGNS)
        known = [one for name, one in sorted(self.book.balances) if name == escrow_of(campaign.tagged)]
        currency = chance.choice(known or [campaign.currency])
        return Action(
            f"refund {campaign.tagged}",
            lambda office: office.refund(campaign, currency),
            lambda book: book.refund(campaign, currency),
        )

    def _adoption(self, chance: Random) -> Action:
        # Mostly one and the same: an adopted participation is never paid again.
        member = chance.choice((*[MEMBERS[3]] * 12, *MEMBERS))
        amount_minor, currency = chance.choice([(0, "INR"), (500, "JPY"), (100_000, "INR"), (7, "KWD")])
        self.steps += 1
        decision_key, found = f"adopt:{self.steps}", [(member, amount_minor, currency)]
        return Action(
            f"adopt {member.tagged}",
            lambda office: office.adopt(found, decision_key),
            lambda book: book.adopt(found),
        )

    def _let_somebody_wait(self, chance: Random) -> None:
        """For approval, since else there is rarely anybody."""
        if not any(hold.reason == "over_approval_threshold" for hold in self.book.holds.values()):
            self._restart_with(replace(self.book.house, threshold_minor=EVERYTHING))
            self._run(self._posting(chance))

    def _subjects(self) -> Sequence[str]:
        """What a person may be asked to decide, and a few things that nobody has to."""
        waiting = sorted(
            f"payout:{tagged}:1" for tagged, hold in self.book.holds.items() if hold.reason == "over_approval_threshold"
        )
        asked = sorted(f"reversal:{key}" for key in self.book.asked_by)
        wrong = [key.removesuffix("1") + "2" for key in waiting]
        return (*waiting * 3, *asked * 3, *wrong, f"payout:{MEMBERS[0].tagged}:1", "payout:", "nothing")

    # Doing it

    def _tick(self) -> None:
        self.time.advance(TICK)
        self.halted_for = self.halted_for + 1 if self.book.is_halted else 0
        if self.halted_for > HALTED_STEPS_MAX:
            self.halted_for = 0
            self.resume()

    def _run(self, action: Action, *, ticks: bool = True) -> None:
        if ticks:
            self._tick()
        answer = action.office(self.office)
        note(f"{action.name}: {answer}")
        expected = action.book(self.book)
        assert answer == expected, f"{action.name}: {answer}, not {expected}"
        self._check()
        held, due = _held(self.copy), _due(self.book)
        assert held == due, [f"{name}: {held[name]}, not {due[name]}" for name in due if held[name] != due[name]]

    def _run_together(self, actions: Sequence[Action]) -> None:
        """All at once in threads; then some order of them must explain what happened."""
        self._tick()
        barrier = Barrier(len(actions))

        def act(action: Action) -> object:
            barrier.wait(30)
            return action.office(self.office)

        with ThreadPoolExecutor(len(actions)) as threads:
            answers = list(threads.map(act, actions))
        for action, answer in zip(actions, answers, strict=True):
            note(f"at once, {action.name}: {answer}")
        self._check()
        held = _held(self.copy)
        tried = []
        for order in permutations(range(len(actions))):
            book = self.book.copy()
            expected = {index: actions[index].book(book) for index in order}
            if all(expected[index] == answer for index, answer in enumerate(answers)) and _due(book) == held:
                self.book = book
                return
            tried.append((order, expected))
        names = [action.name for action in actions]
        raise AssertionError(f"no order of {names} explains {answers} and {held}: {tried}")

    def _check(self) -> None:
        self.steps += 1
        self.copy.read(self.office.engine)
        if self.steps % VERIFY_EVERY == 0:
            self.copy.verify(self.office.engine)


TICK = timedelta(seconds=1)


def _budget(campaign: Campaign, halves: int, currency: str) -> int:
    """So many halves of what one participation earns, and one minor unit, so that it is never nothing."""
    return campaign.gross_minor(campaign.target, currency) * halves // 2 + 1


def _held(copy: JournalCopy) -> dict[str, object]:
    """What the ledger holds, in the form of :func:`_due`."""
    entries, decisions = copy.rows("entries"), copy.rows("decisions")
    moved: dict[str, tuple[str, int]] = {}
    for row in copy.rows("fundings"):
        moved[row["campaign_id"]] = (row["currency"], moved.get(row["campaign_id"], ("", 0))[1] + row["amount_minor"])
    halts = [row for row in decisions if row["kind"] in ("halt", "resume")]
    return {
        "balances": copy.balances(),
        "payouts": {
            row["payout_key"]: (row["gross_minor"], row["fee_minor"], row["amount_minor"], row["currency"])
            for row in copy.rows("payouts")
            if row["kind"] == "payout"
        },
        "reversed": {row["corrects"] for row in entries if row["kind"] == "reversal"},
        "released": {row["corrects"] for row in entries if row["kind"] == "hold_release"},
        "holds": copy.open_holds(),
        "fundings": moved,
        "lines": {row["participation_id"]: row["share_minor"] for row in copy.rows("settlement_lines")},
        "voids": {row["subject"] for row in decisions if row["kind"] == "void"},
        "adopted": {row["participation_id"] for row in copy.rows("adoptions")},
        "halted": bool(halts) and max(halts, key=lambda row: row["batch"])["kind"] == "halt",
    }


def _due(book: ModelLedger) -> dict[str, object]:
    """What the ledger must hold."""
    return {
        "balances": book.balances,
        "payouts": {
            key: (one.ask.gross_minor, one.ask.fee_minor, one.net_minor, one.ask.currency)
            for key, one in book.payouts.items()
        },
        "reversed": {key for key, one in book.payouts.items() if one.is_reversed},
        "released": {key for key, one in book.payouts.items() if one.is_released},
        "holds": {tagged: (one.reason, one.amount_minor, one.currency) for tagged, one in book.holds.items()},
        "fundings": {campaign: (one.currency, one.moved_minor) for campaign, one in book.fundings.items()},
        "lines": {tagged: share for pool in book.pools.values() for tagged, share in pool.shares.items()},
        "voids": book.voids,
        "adopted": set(book.adopted),
        "halted": book.is_halted,
    }


@pytest.fixture(params=["sqlite", "postgres"])
def ledgers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FreshLedgers:
    if request.param == "sqlite":
        return sqlite_ledgers(tmp_path_factory.mktemp("ledgers"))
    return postgres_ledgers(request.getfixturevalue("postgres_server"))


@pytest.mark.timeout(240 + EXAMPLES * STEPS * SECONDS_A_STEP)
def test_no_order_of_events_breaks_the_ledger(ledgers: FreshLedgers) -> None:
    # Annotated as a class, documented as anything that makes a machine.
    run_state_machine_as_test(partial(LedgerMachine, ledgers), settings=SETTINGS)  # type: ignore[arg-type]
