"""The ledger's side of a partition as a frame, each row's amounts derived again from its own stored facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from reconciler.comparison.amounts import (
    Bools,
    Ints,
    Ratios,
    fees,
    half_up,
    minor_an_impression,
    paid_impressions,
)
from reconciler.domain.campaign import PaymentType
from reconciler.domain.decision import Rule
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.money import minor_digits
from reconciler.domain.rederivation import PayoutRow, exact_amounts

_WHOLE = ("sequence", "n", "impressions", "target", "gross_minor", "fee_minor", "amount_minor", "fee_bps")
_AT = {name: place for place, name in enumerate(PayoutRow._fields)}


class LedgerFrame:
    """``frame``: one row a payout or reversal, columns as :class:`PayoutRow`, those of numbers int64, others object.

    ``is_usual``: first payouts of their participation, projected, whose amounts follow from facts that reach
    their target. ``unreadable_ids``: participations with a row that is not in the frame, since it holds what this
    program never wrote. ``expected_minor``: currency → gross that the facts of payouts up to ``cut`` give.
    """

    def __init__(self, rows: Sequence[Sequence[Any]], *, cut: int) -> None:
        kept = [row for row in rows if _is_readable(row)]
        self.unreadable_ids = frozenset(str(row[_AT["participation_id"]]) for row in rows if not _is_readable(row))
        self.frame = _frame_of(kept)
        self._derive(cut)

    def _derive(self, cut: int) -> None:
        frame = self.frame
        is_payout = (frame["kind"] == "payout").to_numpy()
        gross, fee = self._expected()
        sign = np.where(is_payout, 1, -1)
        right = (
            (frame["gross_minor"].to_numpy() == sign * gross)
            & (frame["fee_minor"].to_numpy() == sign * fee)
            & (frame["amount_minor"].to_numpy() == sign * (gross - fee))
        )
        is_share = frame["settlement_key"].notna().to_numpy()
        by_target = (frame["rule"] == Rule.IMPRESSIONS_TARGET_REACHED.value).to_numpy() & ~is_share
        reached = (frame["impressions"] >= frame["target"]).to_numpy()
        fair = right & (reached | ~by_target)
        is_projected = (frame["outbox_status"] == "done").to_numpy()
        self.is_usual: Bools = fair & is_payout & is_projected & (frame["n"] == 1).to_numpy()
        self.expected_minor: Counter[str] = Counter()
        counted = is_payout & (frame["sequence"] <= cut).to_numpy()
        for currency in frame["currency"].unique():
            of_it = gross[counted & (frame["currency"] == currency).to_numpy()]
            self.expected_minor[str(currency)] = sum(map(int, of_it)) if _may_wrap(of_it) else int(of_it.sum())

    def _expected(self) -> tuple[Ints, Ints]:
        """Gross and fee of each row, by its own facts. Of a row whose facts give nothing: -1, which nothing equals."""
        frame = self.frame
        kinds = list(zip(frame["payment_type"], frame["rate"], frame["currency"], strict=True))
        codes, uniques = pd.factorize(pd.Index(kinds, tupleize_cols=False))
        ratios = [_ratio(*one) for one in uniques]
        table = Ratios([one or Fraction(0) for one in ratios])
        codes = codes.astype(np.int64)
        impressions, target = frame["impressions"].to_numpy(), frame["target"].to_numpy()
        is_fixed = (frame["payment_type"] == PaymentType.FIXED.value).to_numpy()
        pays_all = (frame["overdelivery"] == Overdelivery.PAY.value).to_numpy()
        times = paid_impressions(impressions, target, is_fixed, overdelivery=pays_all)
        gross = half_up(table, codes, times, lambda place: self._exact(place)[0])
        shares = frame["share_minor"].to_numpy(dtype=object)
        is_share = frame["settlement_key"].notna().to_numpy()
        for place in np.flatnonzero(is_share):
            gross[place] = shares[place] if isinstance(shares[place], int) else -1
        no_ratio = np.array([one is None for one in ratios], dtype=bool)
        known = frame["overdelivery"].isin([one.value for one in Overdelivery]).to_numpy() | is_fixed
        if len(codes):
            gross = np.where((no_ratio[codes] | ~known) & ~is_share, -1, gross)
        fee = fees(gross, frame["fee_bps"].to_numpy(), lambda place: self._exact(place)[1])
        return gross, fee

    def _exact(self, place: int) -> tuple[int, int]:
        row = PayoutRow(*self.frame.iloc[place])
        derived = exact_amounts(row)
        fits = derived is not None and max(map(abs, derived)) < 2**63
        return (derived[0], derived[1]) if derived is not None and fits else (-1, -1)


def _frame_of(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(PayoutRow._fields)
    return pd.DataFrame(
        {name: pd.Series(columns[place], dtype=np.int64 if name in _WHOLE else object) for name, place in _AT.items()}
    )


def _is_readable(row: Sequence[Any]) -> bool:
    """Whether numbers are numbers and texts are texts: SQLite keeps whatever somebody wrote by hand."""
    return (
        all(type(row[_AT[name]]) is int for name in _WHOLE)
        and isinstance(row[_AT["currency"]], str)
        and minor_digits(row[_AT["currency"]]) is not None
    )


def _ratio(payment_type: str, rate: str, currency: str) -> Fraction | None:
    if payment_type not in set(PaymentType):
        return None
    try:
        exact = Fraction(rate)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return minor_an_impression(payment_type, exact, currency) if exact > 0 else None


def _may_wrap(amounts: Ints) -> bool:
    return bool(len(amounts)) and int(amounts.max()) > 2**62 // len(amounts)
