"""Judging payouts: what a row is wrong in by itself, and beside the document of its participation. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.decision import Rule
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import plain_id
from reconciler.domain.money import amount_text
from reconciler.domain.participation import Participation
from reconciler.domain.rederivation import PayoutRow, exact_amounts


def breaks_of_rows(rows: Sequence[PayoutRow]) -> Iterator[Break]:
    """Rows whose amounts do not follow from their stored facts, or whose own rule would not have paid them."""
    for row in rows:
        derived = exact_amounts(row)
        sign = -1 if row.kind == "reversal" else 1
        kept = (row.gross_minor, row.fee_minor, row.amount_minor)
        if derived is None:
            yield _about(row, BreakKind.AMOUNT_DIFFERS, reason="unreadable", detail="its stored facts give no amount")
        elif kept != tuple(sign * one for one in derived):
            given = ", ".join(str(sign * one) for one in derived)
            detail = f"gross, fee and net are {', '.join(map(str, kept))} minor units; its stored facts give {given}"
            yield _about(row, BreakKind.AMOUNT_DIFFERS, expected=sign * derived[0], detail=detail)
        elif _is_early(row):
            detail = f"{row.impressions} of {row.target} impressions when it was paid"
            yield _about(row, BreakKind.PAID_NOT_DUE, reason=row.rule, expected=0, detail=detail)


def breaks_beside_document(
    rows: Sequence[PayoutRow], participation: Participation, campaign: Campaign | None
) -> Iterator[Break]:
    """What a participation's document says otherwise than its payouts: who and what it is, and what it would earn."""
    unreversed = _unreversed(rows)
    for row in rows:
        if row.kind != "payout":
            continue
        said = (participation.campaign_id.tagged, participation.streamer_id)
        if said != (row.campaign_id, row.streamer_id):
            detail = f"its document now names {said[0]} and streamer {said[1]}"
            yield _about(row, BreakKind.EXISTS_DIFFERENT, reason="identity_changed", detail=detail)
        elif row in unreversed and isinstance(campaign, CampaignTerms) and row.settlement_key is None:
            changed = _changed(row, participation, campaign)
            if changed is not None:
                yield changed


def without_document(rows: Sequence[PayoutRow]) -> Iterator[Break]:
    """Payouts that stand and whose participation is gone, with whatever else is wrong with them."""
    yield from breaks_of_rows(rows)
    for row in _unreversed(rows):
        yield _about(
            row, BreakKind.PAID_WITHOUT_PARTICIPATION, expected=0, detail="no participation of this identity exists"
        )


def _changed(row: PayoutRow, participation: Participation, terms: CampaignTerms) -> Break | None:
    """An info: the amount that would be right now, where it is another one."""
    impressions = participation.impressions
    if not isinstance(impressions, int):
        return None
    reason, now_minor = "amount", 0
    if participation.forfeited is True:
        reason = "forfeited"
    elif impressions < terms.target_impressions:
        reason = "below_target"
    elif row.overdelivery in set(Overdelivery):
        now_minor = earnings(terms, impressions, Overdelivery(row.overdelivery)).gross_minor
    if terms.currency != row.currency:
        return _about(
            row, BreakKind.FACTS_CHANGED, reason="currency", detail=f"its campaign is now in {terms.currency}"
        )
    if now_minor == row.gross_minor:
        return None
    return _about(
        row,
        BreakKind.FACTS_CHANGED,
        reason=reason,
        expected=now_minor,
        detail=(
            f"{impressions} of {terms.target_impressions} impressions at {terms.rate_text}: today "
            f"{amount_text(now_minor, row.currency)} would be right; it was paid on "
            f"{row.impressions} of {row.target} at {row.rate}"
        ),
    )


def _is_early(row: PayoutRow) -> bool:
    by_target = row.rule == Rule.IMPRESSIONS_TARGET_REACHED.value and row.settlement_key is None
    return row.kind == "payout" and by_target and row.impressions < row.target


def _unreversed(rows: Sequence[PayoutRow]) -> list[PayoutRow]:
    """Payouts that no reversal took back."""
    taken_back = {(row.participation_id, row.n) for row in rows if row.kind == "reversal"}
    return [row for row in rows if row.kind == "payout" and (row.participation_id, row.n) not in taken_back]


def _about(row: PayoutRow, kind: BreakKind, *, reason: str = "", expected: int | None = None, detail: str) -> Break:
    return Break(
        kind=kind,
        reason=reason,
        participation_id=plain_id(row.participation_id),
        campaign_id=plain_id(row.campaign_id),
        streamer_id=row.streamer_id,
        payout_key=row.payout_key,
        currency=row.currency,
        expected_minor=expected,
        actual_minor=None if expected is None else row.gross_minor,
        detail=detail,
    )
