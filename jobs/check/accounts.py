"""What is no participation: wallets against the ledger's accounts, campaigns against their budgets and payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from jobs.check.tally import Tally
from jobs.payment.projecting import Projector
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.effects import WalletPosition
from reconciler.domain.ids import DocumentId, plain_id
from reconciler.domain.money import amount_text
from reconciler.errors import DatabaseFailure
from reconciler.ports.effect_states import EffectStates, WalletFault
from reconciler.ports.facts import Facts
from reconciler.ports.population import CampaignMoney, PopulationReads
from reconciler.ports.projection import Projection
from reconciler.ports.scanning import CampaignCounters, FactScan

ACCOUNTS_A_PAGE = 10_000
CAMPAIGNS_A_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChecker:
    """Checks in pages and repairs what is safe. Raises Outage or InvariantBroken."""

    facts: Facts
    scan: FactScan
    reads: PopulationReads
    states: EffectStates
    projection: Projection
    projector: Projector

    def check_wallets(self, campaign_id: str | None, *, dry_run: bool) -> Tally:
        """Project wallets again whose record of the ledger is behind; name those below zero."""
        tally, after = Tally(), ("", "")
        while accounts := self.reads.wallet_positions(after, ACCOUNTS_A_PAGE, campaign_id):
            after = (accounts[-1].streamer_id, accounts[-1].currency)
            self._check_drift(tally, accounts, dry_run=dry_run)
            self._name_negative(tally, accounts)
        return tally

    def check_campaigns(self, campaign_id: str | None, *, dry_run: bool) -> Tally:
        """Budgets below what was paid, counters that cannot be right, and campaigns that are over and do not say so."""
        tally, after = Tally(), ""
        while money := self.reads.campaign_money(after, CAMPAIGNS_A_PAGE):
            after = money[-1].campaign_id.tagged
            chosen = [one for one in money if campaign_id in (None, one.campaign_id.value)]
            self._check_funding(tally, chosen)
            self._check_completion(tally, [one.campaign_id for one in chosen], dry_run=dry_run)
        return tally

    def _check_drift(self, tally: Tally, accounts: Sequence[WalletPosition], *, dry_run: bool) -> None:
        faults = self._settled_faults(accounts)
        if not faults:
            return
        behind = {(one.streamer_id, one.currency) for one in faults if one.is_repairable}
        still = behind
        if behind and not dry_run:
            self.reads.show_again(sorted(behind))
            self.projector.show_lagging(ACCOUNTS_A_PAGE)
            # A wallet that could not take its position stays open; the reason is that of its effects.
            still = {(one.streamer_id, one.currency) for one in self._faults_of(behind) if one.is_repairable}
            now = self.reads.positions_of(sorted(behind))
            still |= {(one.streamer_id, one.currency) for one in now if not one.is_acknowledged}
            tally.projected += len(behind - still)
        paid = self.reads.participations_of([one.streamer_id for one in faults])
        for fault in faults:
            is_repaired = fault.is_repairable and (fault.streamer_id, fault.currency) not in still
            tally.breaks.append(_break_of_wallet(fault, paid, repaired=is_repaired))

    def _settled_faults(self, accounts: Sequence[WalletPosition]) -> list[WalletFault]:
        """Faults of accounts that stood still: whoever was paid while we looked is looked at again."""
        faults = self.states.wallet_faults(accounts)
        keys = {one.key for one in faults}
        again = self._faults_of({(one.streamer_id, one.currency) for one in faults}) if faults else []
        return [one for one in again if one.key in keys]

    def _faults_of(self, keys: set[tuple[str, str]]) -> list[WalletFault]:
        return self.states.wallet_faults(self.reads.positions_of(sorted(keys)))

    def _name_negative(self, tally: Tally, accounts: Sequence[WalletPosition]) -> None:
        negative = self.projection.negative_wallets(one.streamer_id for one in accounts)
        paid = self.reads.participations_of(negative) if negative else {}
        for streamer_id in negative:
            participation, campaign = paid.get(streamer_id, ("", ""))
            tally.breaks.append(
                Break(
                    kind=BreakKind.WALLET_NEGATIVE,
                    reason="below_zero",
                    participation_id=plain_id(participation),
                    campaign_id=plain_id(campaign),
                    streamer_id=streamer_id,
                    detail="more was withdrawn or taken back than the wallet held",
                )
            )

    def _check_funding(self, tally: Tally, money: Sequence[CampaignMoney]) -> None:
        ids = [one.campaign_id for one in money]
        terms = self.facts.campaigns(ids)
        currencies = {key: one.currency for key, one in terms.items() if isinstance(one, CampaignTerms)}
        counters = self.scan.counters(ids, currencies)
        for one in money:
            campaign = terms.get(one.campaign_id.tagged)
            tally.breaks += breaks_of_funder(one, campaign)
            if isinstance(campaign, CampaignTerms) and campaign.currency == one.currency:
                tally.breaks += _breaks_of_budget(one, campaign, counters.get(one.campaign_id.tagged))

    def _check_completion(self, tally: Tally, campaign_ids: Sequence[DocumentId], *, dry_run: bool) -> None:
        stale = self._stale(campaign_ids)
        if not stale:
            return
        stale = self._stale(sorted(stale))
        still, why = stale, ""
        if stale and not dry_run:
            try:
                self.projection.complete_campaigns(self.reads.projected_totals(sorted(stale)))
            except DatabaseFailure as failure:
                if not failure.is_answer:
                    raise
                why = f"; MongoDB refuses: {failure.reason}"
            still = self._stale(sorted(stale))
            tally.projected += len(stale) - len(still)
        for campaign_id, what in sorted(stale.items()):
            tally.breaks.append(
                Break(
                    kind=BreakKind.PROJECTION_STALE,
                    reason="campaign",
                    campaign_id=campaign_id.value,
                    detail=what + (why if campaign_id in still else ""),
                    repaired=campaign_id not in still,
                )
            )

    def _stale(self, campaign_ids: Sequence[DocumentId]) -> dict[DocumentId, str]:
        """By totals read before the documents: of a campaign that is just being paid they differ, once."""
        totals = self.reads.projected_totals(campaign_ids)
        return self.states.stale_campaigns(totals) if totals else {}


def breaks_of_funder(money: CampaignMoney, campaign: Campaign | None) -> list[Break]:
    """Escrow of a campaign that will never pay it out, and a campaign that names another brand than its funder."""
    found = []
    if money.escrow_minor > 0 and (campaign is None or campaign.status == "rejected"):
        gone = campaign is None
        found.append(
            Break(
                kind=BreakKind.ESCROW_ORPHANED,
                reason="campaign_missing" if gone else "campaign_rejected",
                campaign_id=money.campaign_id.value,
                currency=money.currency,
                expected_minor=0,
                actual_minor=money.escrow_minor,
                detail=f"{amount_text(money.escrow_minor, money.currency)} lie in its escrow, "
                + ("and MongoDB has no such campaign any more" if gone else "and the campaign was rejected"),
            )
        )
    if isinstance(campaign, CampaignTerms) and money.brands and campaign.brand_id.tagged not in money.brands:
        funders = ", ".join(sorted(plain_id(one) for one in money.brands))
        found.append(
            Break(
                kind=BreakKind.BRAND_CHANGED,
                reason="brand_id",
                campaign_id=money.campaign_id.value,
                detail=f"brand {funders} funded it, and it names brand {campaign.brand_id} now",
            )
        )
    return found


def _breaks_of_budget(money: CampaignMoney, terms: CampaignTerms, counters: CampaignCounters | None) -> list[Break]:
    found: list[Break] = []

    def add(kind: BreakKind, reason: str, amounts: tuple[int, int], detail: str) -> None:
        expected, actual = amounts
        found.append(
            Break(
                kind=kind,
                reason=reason,
                campaign_id=money.campaign_id.value,
                currency=money.currency,
                expected_minor=expected,
                actual_minor=actual,
                detail=detail,
            )
        )

    shown = partial(amount_text, currency=money.currency)
    if terms.budget_minor < money.paid_minor:
        add(
            BreakKind.BUDGET_BELOW_PAID,
            "",
            (terms.budget_minor, money.paid_minor),
            f"the budget is {shown(terms.budget_minor)}, and {shown(money.paid_minor)} were paid of it",
        )
    remaining = counters.remaining_minor if counters else None
    if remaining is not None and not 0 <= remaining <= terms.budget_minor:
        reason = "remaining_negative" if remaining < 0 else "remaining_above_budget"
        detail = f"{shown(remaining)} are said to remain of a budget of {shown(terms.budget_minor)}"
        add(BreakKind.BUDGET_DRIFT, reason, (terms.budget_minor, remaining), detail)
    elif terms.status != "active" and not money.is_refunded and terms.budget_minor != money.budget_minor:
        detail = (
            f"the campaign is {terms.status} with a budget of {shown(terms.budget_minor)}; "
            f"the ledger last saw {shown(money.budget_minor)}"
        )
        add(BreakKind.BUDGET_DRIFT, "changed_after_end", (money.budget_minor, terms.budget_minor), detail)
    return found


def _break_of_wallet(fault: WalletFault, paid: Mapping[str, tuple[str, str]], *, repaired: bool) -> Break:
    participation, campaign = paid.get(fault.streamer_id, ("", ""))
    return Break(
        kind=fault.kind,
        reason=f"{fault.currency} {fault.field}".strip(),
        participation_id=plain_id(participation),
        campaign_id=plain_id(campaign),
        streamer_id=fault.streamer_id,
        currency=fault.currency,
        expected_minor=fault.expected_minor,
        actual_minor=fault.shown_minor,
        detail=fault.detail,
        repaired=repaired,
    )
