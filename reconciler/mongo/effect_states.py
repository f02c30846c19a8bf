"""What MongoDB shows of many payouts at once: enough to choose those that have to be looked at again, one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

from bson.objectid import ObjectId

from reconciler.config.mapping import MappingSettings
from reconciler.domain.breaks import BreakKind
from reconciler.domain.campaign import STATUSES_THAT_PAY
from reconciler.domain.effects import WalletPosition
from reconciler.domain.ids import DocumentId, statement_line_id
from reconciler.domain.money import minor_per_major, parse_amount_minor
from reconciler.domain.parsing import parse_number
from reconciler.mongo.campaigns import CampaignCompletion
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.values import to_bson_id, to_plain, whole_number
from reconciler.mongo.wallets import EARNED
from reconciler.ports.effect_states import WalletFault

_VALUES_A_QUERY = 20_000
"""Values of one ``$in``: below a megabyte of statement, and few enough round trips."""

Value = TypeVar("Value")


class MongoEffectStates:
    """Every method raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings, *, default_currency: str) -> None:
        collections = mapping.collections
        self._names = mapping
        self._default_currency = default_currency
        self._transactions = connection.database[collections.transactions]
        self._wallets = connection.database[collections.wallets]
        self._gkeys = connection.database[collections.gkeys]
        self._campaigns = connection.database[collections.campaigns]
        self._completion = CampaignCompletion(connection, mapping)

    def odd_lines(self, lines: Sequence[tuple[str, int, str]]) -> set[str]:
        """Which of some (entry key, amount in minor units, currency) have no line of exactly that amount."""
        amount = self._names.transactions.amount
        odd: set[str] = set()
        for some in _some(lines, _VALUES_A_QUERY):
            ids = [ObjectId(statement_line_id(key)) for key, _, _ in some]
            with translated(), self._transactions.find({"_id": {"$in": ids}}, {amount: 1}) as cursor:
                shown = {line["_id"]: line.get(amount) for line in cursor}
            for line_id, (key, amount_minor, currency) in zip(ids, some, strict=True):
                # Never laxer than the exact comparison that follows: the double next to the amount, or it is odd.
                if shown.get(line_id) != amount_minor / minor_per_major(currency):
                    odd.add(key)
        return odd

    def locked(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of some (streamer, plain campaign) have a key that this campaign locks, since whenever."""
        names = self._names.gkeys
        locked: set[tuple[str, str]] = set()
        for some in _some(pairs, _VALUES_A_QUERY):
            wanted = set(some)
            query = {names.user_id: {"$in": sorted({streamer for streamer, _ in some})}, names.status: "locked"}
            projection = {"_id": 0, names.user_id: 1, names.locked_with: 1}
            with translated(), self._gkeys.find(query, projection) as cursor:
                found = {(str(key.get(names.user_id)), str(key.get(names.locked_with))) for key in cursor}
            locked |= found & wanted
        return locked

    def wallet_faults(self, accounts: Sequence[WalletPosition]) -> list[WalletFault]:
        """Wallets whose record is not what they acknowledged, that contradict it, or of which a user has several."""
        names = self._names.wallets
        faults: list[WalletFault] = []
        for some in _some(accounts, _VALUES_A_QUERY):
            query = {names.user_id: {"$in": sorted({one.streamer_id for one in some})}}
            shown: dict[str, list[Document]] = defaultdict(list)
            shared = (names.currency, names.total_earnings, names.held_balance)
            fields = (names.user_id, names.wallet_type, names.ledger, *shared)
            with translated(), self._wallets.find(query, dict.fromkeys(fields, 1)) as cursor:
                for wallet in cursor:
                    if isinstance(wallet.get(names.user_id), str):
                        shown[wallet[names.user_id]].append(wallet)
            for account in some:
                wallets = shown.get(account.streamer_id, [])
                streamers = [one for one in wallets if one.get(names.wallet_type) == "streamer"]
                faults += self._faults(account, streamers or wallets[:1])
        return faults

    def stale_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> dict[DocumentId, str]:
        """Campaigns with nothing left to settle that do not say so, or say another total."""
        names = self._names.campaigns
        by_raw = {to_bson_id(one): one for one in totals}
        stale: dict[DocumentId, str] = {}
        with translated():
            settled = self._completion.settled(list(by_raw))
            query = {"_id": {"$in": settled}, names.status: {"$in": sorted(STATUSES_THAT_PAY)}}
            fields = (names.status, names.final_earnings_transferred)
            for document in self._campaigns.find(query, dict.fromkeys(fields, 1)):
                campaign_id = by_raw[document["_id"]]
                total_minor, currency = totals[campaign_id]
                shown = parse_amount_minor(to_plain(document.get(names.final_earnings_transferred)), currency)
                wrong = [names.status] if document.get(names.status) != "completed" else []
                wrong += [names.final_earnings_transferred] if shown != total_minor else []
                if wrong:
                    stale[campaign_id] = ", ".join(f"campaign: {name}" for name in wrong)
        return stale

    def _faults(self, account: WalletPosition, wallets: Sequence[Document]) -> Iterator[WalletFault]:
        if len(wallets) > 1:
            ids = ", ".join(str(one["_id"]) for one in wallets)
            detail = f"{len(wallets)} wallets of one user, of which none is credited: {ids}"
            yield _fault(account, None, detail, kind=BreakKind.WALLET_AMBIGUOUS)
            return
        wallet = wallets[0] if wallets else None
        record = self._record_fault(account, wallet)
        if record is not None:
            yield record
        elif wallet is not None and account.is_acknowledged:
            yield from self._shared_faults(account, wallet)

    def _shared_faults(self, account: WalletPosition, wallet: Document) -> Iterator[WalletFault]:
        """Shared fields that others may only add to, and that say less than is known of them."""
        names = self._names.wallets
        if (wallet.get(names.currency) or self._default_currency) != account.currency:
            return
        digits = minor_per_major(account.currency)
        bounds = [(names.held_balance, Fraction(account.held_minor), "the ledger holds")] if account.held_minor else []
        # Wallets that were written last by an earlier version do not say what their total was then.
        earned = parse_number(to_plain(_of(wallet.get(names.ledger), account.currency).get(EARNED)))
        if isinstance(earned, Fraction):
            bounds.append((names.total_earnings, earned * digits, "our last write left"))
        for name, least_minor, whence in bounds:
            number = parse_number(to_plain(wallet.get(name)))
            shown_minor = round(number * digits) if isinstance(number, Fraction) else None
            if shown_minor is None or shown_minor < round(least_minor):
                detail = f"{name} says {wallet.get(name)!r}; {whence} {round(least_minor)} minor units"
                yield replace(_fault(account, shown_minor, detail, field=name), expected_minor=round(least_minor))

    def _record_fault(self, account: WalletPosition, wallet: Document | None) -> WalletFault | None:
        stored = _of_currency(wallet.get(self._names.wallets.ledger) if wallet else None, account.currency)
        available, held, version = (stored.get(name) for name in ("availableMinor", "heldMinor", "version"))
        is_lost = account.acknowledged_version > (version or 0)
        if not is_lost and not account.is_acknowledged:
            return None  # What the ledger says by now is still on its way.
        if version is not None and version > account.version:
            return None  # It moved on since the ledger was read; a version nobody gave out stops the projector.
        if (available, held, version) == (account.available_minor, account.held_minor, account.version):
            return None
        if version is None and account.version == 0:
            return None
        shown = f"{self._names.wallets.ledger}.{account.currency}"
        what = "the wallet is gone" if wallet is None else f"{shown} says {available} available, {held} held, {version}"
        detail = f"{what}; the ledger {account.available_minor}, {account.held_minor}, {account.version}"
        return _fault(account, (available or 0) + (held or 0), detail)


def _fault(
    account: WalletPosition,
    shown_minor: int | None,
    detail: str,
    *,
    kind: BreakKind = BreakKind.WALLET_DRIFT,
    field: str = "",
) -> WalletFault:
    return WalletFault(
        streamer_id=account.streamer_id,
        currency=account.currency,
        expected_minor=account.available_minor + account.held_minor,
        shown_minor=shown_minor,
        detail=detail,
        kind=kind,
        field=field,
    )


def _of(ledger: object, currency: str) -> Mapping[str, Any]:
    found: Any = ledger.get(currency) if isinstance(ledger, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _of_currency(ledger: object, currency: str) -> dict[str, int]:
    numbers = ((key, whole_number(value)) for key, value in _of(ledger, currency).items())
    return {key: number for key, number in numbers if number is not None}


def _some(values: Sequence[Value], size: int) -> Iterator[Sequence[Value]]:
    return (values[start : start + size] for start in range(0, len(values), size))
