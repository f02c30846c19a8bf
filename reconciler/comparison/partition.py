"""One partition of both sides, compared as frames: who is plainly in order, and who has to be looked at by itself.

The vectors only ever *clear* rows. Whatever is remarkable in any way (no plain number, due, held, reversed, adopted,
an effect that is not as projected) is handed on to the exact path, which reads it again and decides. So both can never
disagree: a row that the vectors clear is one that the exact path would clear, and a test holds them to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pandas as pd

from reconciler.comparison.amounts import (
    Bools,
    Ints,
    Ratios,
    half_up,
    paid_impressions,
    ratio_of,
)
from reconciler.comparison.ledger_side import LedgerFrame
from reconciler.domain.campaign import STATUSES as CAMPAIGN_STATUSES
from reconciler.domain.campaign import STATUSES_THAT_PAY as CAMPAIGN_STATUSES_THAT_PAY
from reconciler.domain.campaign import Campaign, CampaignTerms, PaymentType
from reconciler.domain.decision import Policy, Scope
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import AMOUNT_MINOR_MAX, minor_per_major
from reconciler.domain.parsing import IMPRESSIONS_MAX
from reconciler.domain.participation import STATUSES, STATUSES_THAT_PAY
from reconciler.domain.stranding import STATUSES_OVER
from reconciler.ports.population import LedgerPartition
from reconciler.ports.scanning import FactColumns

_TARGET_MAX = IMPRESSIONS_MAX + 1
"""A derived target can be beyond what an int64 holds; a count beyond the maximum is malformed anyway."""


@dataclass(slots=True, kw_only=True)
class PaidRows:
    """Payouts whose participation is in order as far as this partition shows, for looking up their other effects."""

    participation_ids: list[str] = field(default_factory=list)
    lines: list[tuple[str, int, str]] = field(default_factory=list)
    """(entry key, net amount in minor units, currency) of those that make a statement line."""
    line_participations: list[str] = field(default_factory=list)
    locks: list[tuple[str, str]] = field(default_factory=list)
    """(streamer, plain campaign), in the order of ``participation_ids``."""


@dataclass(slots=True, kw_only=True)
class Compared:
    """What the vectors made of one partition. ``not_due``, ``settled_before_us`` and ``paid`` are in order."""

    not_due: int = 0
    settled_before_us: int = 0
    accrued_minor: Counter[str] = field(default_factory=Counter)
    """Tagged campaign → what participations earned that did not reach their target, in minor units."""
    accrued_count: Counter[str] = field(default_factory=Counter)
    accrued_impressions: Counter[str] = field(default_factory=Counter)
    paid: PaidRows = field(default_factory=PaidRows)
    remarkable: list[str] = field(default_factory=list)
    """Tagged participations for the exact path."""
    orphans: list[str] = field(default_factory=list)
    """Tagged participations of payouts that no document of this partition belongs to."""
    expected_minor: Counter[str] = field(default_factory=Counter)
    """Currency → gross that the stored facts of the payouts give, up to the cut."""


class CampaignColumns:
    """The terms of a partition's campaigns as columns, and which of them each row belongs to."""

    def __init__(self, facts: FactColumns, terms: Mapping[str, Campaign], pooled: frozenset[str]) -> None:
        codes, uniques = pd.factorize(np.array(facts.campaign_ids, dtype=object))
        self.codes: Ints = codes.astype(np.int64)
        self.tagged: list[str] = list(uniques)
        found = [terms.get(one) for one in self.tagged]
        self.terms = [one if isinstance(one, CampaignTerms) else None for one in found]
        self.is_known: Bools = np.array([one is not None for one in self.terms], dtype=bool)
        # A malformed campaign that does not pay is no obstacle to those who counted nothing.
        self.is_off: Bools = np.array(
            [one is not None and one.status in CAMPAIGN_STATUSES - CAMPAIGN_STATUSES_THAT_PAY for one in found],
            dtype=bool,
        )
        self.pays: Bools = np.array(
            [one is not None and one.status in CAMPAIGN_STATUSES_THAT_PAY for one in found], dtype=bool
        )
        self.is_over: Bools = np.array([one is not None and one.status in STATUSES_OVER for one in found], dtype=bool)
        self.is_fixed: Bools = np.array(
            [one is not None and one.payment_type is PaymentType.FIXED for one in self.terms], dtype=bool
        )
        self.is_pooled: Bools = np.array([one in pooled for one in self.tagged], dtype=bool)
        self.target: Ints = np.array(
            [min(one.target_impressions, _TARGET_MAX) if one else _TARGET_MAX for one in self.terms], dtype=np.int64
        )
        self.ratios = Ratios([ratio_of(one) if one else Fraction(0) for one in self.terms])
        self.currency = np.array([one.currency if one else "" for one in self.terms], dtype=object)


def compare(
    facts: FactColumns, ledger: LedgerPartition, terms: Mapping[str, Campaign], policy: Policy, *, cut: int
) -> Compared:
    """Compare one partition. ``terms``: its campaigns, those that exist; ``cut``: the sequence the sums go up to."""
    return _Comparison(facts, ledger, terms, policy, cut).run()


class _Comparison:
    def __init__(
        self, facts: FactColumns, ledger: LedgerPartition, terms: Mapping[str, Campaign], policy: Policy, cut: int
    ) -> None:
        self._policy = policy
        self._ids = np.array(facts.participation_ids, dtype=object)
        self._index = pd.Index(self._ids)
        self._facts = facts
        self._campaigns = CampaignColumns(facts, terms, ledger.pooled_campaigns)
        self._ledger = LedgerFrame(ledger.rows, cut=cut)
        self._ledger_sets = ledger
        self._out = Compared()
        self._impressions, is_count = _counts(facts.impressions)
        self._is_plain: Bools = np.array(facts.is_plain, dtype=bool) & is_count
        self._forfeited: Bools = np.array(facts.forfeited, dtype=bool)
        self._marked: Bools = np.array(facts.marked_paid, dtype=bool)
        self._status = np.array(facts.statuses, dtype=object)

    def run(self) -> Compared:
        out, ledger = self._out, self._ledger
        out.expected_minor = ledger.expected_minor
        places = self._index.get_indexer(pd.Index(ledger.frame["participation_id"]))
        lost = ledger.unreadable_ids - set(self._index[self._index.isin(list(ledger.unreadable_ids))])
        out.orphans = sorted({*ledger.frame["participation_id"][places < 0], *lost})
        has_rows = np.zeros(len(self._ids), dtype=bool)
        has_rows[places[places >= 0]] = True
        is_special = self._among(self._ledger_sets.special | ledger.unreadable_ids)
        is_adopted = self._among(self._ledger_sets.adopted)
        cleared = self._clear_paid(places, is_special | is_adopted)
        unpaid = self._is_plain & ~has_rows & ~is_special & ~self._marked
        before = unpaid & is_adopted
        out.settled_before_us = int(before.sum())
        cleared |= before | self._clear_not_due(unpaid & ~is_adopted)
        out.remarkable = list(self._ids[~cleared])
        return out

    def _among(self, tagged: frozenset[str]) -> Bools:
        found: Bools = np.asarray(self._index.isin(list(tagged))) if tagged else np.zeros(len(self._ids), dtype=bool)
        return found

    def _clear_not_due(self, unpaid: Bools) -> Bools:
        """Those that nothing is due for, with what accrued to them."""
        campaigns, codes = self._campaigns, self._campaigns.codes
        is_off = campaigns.is_off[codes]
        stays_out = ~pd.Index(self._status).isin(list(STATUSES_THAT_PAY)) | self._forfeited
        known = campaigns.is_known[codes]
        # A status that is not known is named, and whoever reached a target is withheld or more: both one by one.
        unpaid = unpaid & pd.Index(self._status).isin(list(STATUSES))
        if self._policy.scope is Scope.STREAMER:
            unpaid &= self._impressions < np.where(known, campaigns.target[codes], 1)
        off = unpaid & ((is_off & (known | (self._impressions == 0))) | (known & campaigns.pays[codes] & stays_out))
        below = unpaid & known & campaigns.pays[codes] & ~stays_out & ~campaigns.is_pooled[codes]
        # In a campaign that was called off it is stranded: no rule pays it.
        accruing = below | (off & campaigns.is_over[codes] & known & ~stays_out)
        rows = np.flatnonzero(accruing & ~campaigns.is_fixed[codes])
        gross = self._gross(rows, np.full(len(rows), self._policy.overdelivery is Overdelivery.PAY))
        too_much = gross > AMOUNT_MINOR_MAX
        below[rows[too_much]] = False
        off[rows[too_much]] = False
        self._out.not_due = int(off.sum()) + int(below.sum())
        self._accrue(rows[~too_much], gross[~too_much])
        cleared: Bools = off | below
        return cleared

    def _accrue(self, rows: Ints, gross: Ints) -> None:
        codes = self._campaigns.codes[rows]
        sums = pd.DataFrame({"campaign": codes, "gross": gross}).groupby("campaign")["gross"]
        counted = pd.DataFrame({"campaign": codes, "n": self._impressions[rows]}).groupby("campaign")["n"]
        wide = self._campaigns.tagged
        found = zip(sums.agg(_exact_sum).items(), sums.size(), counted.agg(_exact_sum), strict=True)
        for (code, total), count, impressions in found:
            if total:
                self._out.accrued_minor[wide[int(str(code))]] += int(total)
                self._out.accrued_count[wide[int(str(code))]] += int(count)
                self._out.accrued_impressions[wide[int(str(code))]] += int(impressions)

    def _gross(self, rows: Ints, pays_all: Bools) -> Ints:
        """What rows of known campaigns earn by their impressions of now; ``pays_all``: beyond the target too."""
        campaigns, codes = self._campaigns, self._campaigns.codes[rows]
        impressions = self._impressions[rows]
        times = paid_impressions(impressions, campaigns.target[codes], campaigns.is_fixed[codes], overdelivery=pays_all)

        def exact(place: int) -> int:
            terms = campaigns.terms[codes[place]]
            assert terms is not None
            overdelivery = Overdelivery.PAY if pays_all[place] else Overdelivery.CAP_AT_TARGET
            return earnings(terms, int(impressions[place]), overdelivery).gross_minor

        return half_up(campaigns.ratios, codes, times, exact)

    def _clear_paid(self, places: Ints, is_apart: Bools) -> Bools:
        """Those with exactly one payout, projected and shown as posted, whose facts still give the same amount."""
        frame = self._ledger.frame
        single = (~frame["participation_id"].duplicated(keep=False)).to_numpy()
        usual = single & self._ledger.is_usual & (places >= 0)
        rows = np.flatnonzero(usual)
        at = places[rows]
        shown = self._shown(rows, at) & self._is_plain[at] & ~is_apart[at]
        rows, at = rows[shown], at[shown]
        same = self._facts_same(rows, at)
        rows, at = rows[same], at[same]
        cleared = np.zeros(len(self._ids), dtype=bool)
        cleared[at] = True
        self._list_paid(rows)
        return cleared

    def _shown(self, rows: Ints, at: Ints) -> Bools:
        """Whether participations show what was posted of them. Never laxer than the exact comparison."""
        frame, facts = self._ledger.frame.iloc[rows], self._facts
        campaigns = np.array(facts.campaign_ids, dtype=object)[at]
        streamers = np.array(facts.streamer_ids, dtype=object)[at]
        reasons = np.array(facts.completion_reasons, dtype=object)[at]
        earned = np.array(facts.final_earnings, dtype=np.float64)[at]
        scale = frame["currency"].map(minor_per_major).to_numpy(dtype=np.float64)
        found: Bools = (
            (campaigns == frame["campaign_id"].to_numpy())
            & (streamers == frame["streamer_id"].to_numpy())
            & (reasons == frame["rule"].to_numpy())
            & (self._status[at] == "completed")
            & self._marked[at]
            & (earned == frame["amount_minor"].to_numpy(dtype=np.float64) / scale)
        )
        return found

    def _facts_same(self, rows: Ints, at: Ints) -> Bools:
        """Whether today's facts still give what was paid. A share of a pool was given by all of its members."""
        campaigns, codes = self._campaigns, self._campaigns.codes[at]
        frame = self._ledger.frame.iloc[rows]
        known = campaigns.is_known[codes]
        is_share = frame["settlement_key"].notna().to_numpy()
        looked_at = known & ~is_share
        now = np.zeros(len(rows), dtype=np.int64)
        pays_all = (frame["overdelivery"] == Overdelivery.PAY.value).to_numpy()
        now[looked_at] = self._gross(at[looked_at], pays_all[looked_at])
        reached = self._impressions[at] >= campaigns.target[codes]
        now = np.where(reached & ~self._forfeited[at], now, 0)
        same_currency = campaigns.currency[codes] == frame["currency"].to_numpy()
        same: Bools = (now == frame["gross_minor"].to_numpy(dtype=np.int64)) & same_currency
        return same | ~looked_at

    def _list_paid(self, rows: Ints) -> None:
        paid, frame = self._out.paid, self._ledger.frame.iloc[rows]
        for participation, key, amount, currency, streamer, campaign in zip(
            frame["participation_id"],
            frame["payout_key"],
            frame["amount_minor"],
            frame["currency"],
            frame["streamer_id"],
            frame["campaign_id"],
            strict=True,
        ):
            paid.participation_ids.append(participation)
            paid.locks.append((streamer, DocumentId.from_tagged(campaign).value))
            if amount:
                paid.lines.append((key, int(amount), currency))
                paid.line_participations.append(participation)


def _counts(values: Sequence[int | float]) -> tuple[Ints, Bools]:
    """Whole numbers from 0 to the maximum, and which rows hold one; the others are 0."""
    if any(isinstance(value, float) for value in values):
        # Up to the maximum a double tells every whole number from the next, and what is larger counts as none.
        as_floats = np.array(values, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            whole = (as_floats >= 0) & (as_floats <= IMPRESSIONS_MAX) & (np.floor(as_floats) == as_floats)
        return np.where(whole, as_floats, 0).astype(np.int64), whole
    counts: Ints = np.fromiter(values, dtype=np.int64, count=len(values))
    inside = (counts >= 0) & (counts <= IMPRESSIONS_MAX)
    return np.where(inside, counts, 0), inside


def _exact_sum(amounts: pd.Series[int]) -> int:
    """A sum that cannot wrap: in Python's whole numbers where int64 might not do."""
    if len(amounts) and int(amounts.max()) > 2**62 // len(amounts):
        return sum(map(int, amounts))
    return int(amounts.sum())
