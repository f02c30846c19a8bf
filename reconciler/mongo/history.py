"""What MongoDB shows of payments that the ledger does not hold: history before it, and what an older copy lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from reconciler.config.mapping import MappingSettings
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import parse_currency
from reconciler.domain.parsing import Unreadable
from reconciler.domain.participation import Participation, parse_participation
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.names import FactNames
from reconciler.mongo.values import (
    amount_of,
    date_of,
    identity_of,
    text_of,
    to_bson_id,
    to_plain,
    to_record,
    whole_number,
)
from reconciler.mongo.wallet_records import CREATED_BY
from reconciler.ports.history import ShownPayment, StatementLine

_PAGE = 1000


class History:
    """Reads marks and statement lines. Raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings, *, default_currency: str) -> None:
        collections = mapping.collections
        self._mapping = mapping
        self._names = FactNames.of(mapping)
        self._default_currency = default_currency
        self._participations = connection.database[collections.participations]
        self._campaigns = connection.database[collections.campaigns]
        self._transactions = connection.database[collections.transactions]
        self._wallets = connection.database[collections.wallets]

    def marked_before(self, time: datetime) -> Iterator[Sequence[ShownPayment]]:
        """Participations marked as paid whose transfer, or else completion, lies before a time; in pages.

        One without any readable date is taken as old: nothing of ours lacks one.
        """
        names = self._mapping.participations
        fields = {
            *self._names.participation.values(),
            names.final_earnings,
            names.earnings_transferred_at,
            names.completed_at,
        }
        query = {names.final_earnings_transferred: True}
        with translated(), self._participations.find(query, dict.fromkeys(fields, 1), sort=[("_id", 1)]) as cursor:
            page: list[Document] = []
            for document in cursor:
                page.append(document)
                if len(page) >= _PAGE:
                    yield self._shown(page, time)
                    page = []
            if page:
                yield self._shown(page, time)

    def own_lines(self) -> Iterator[Sequence[StatementLine]]:
        """Statement lines that this program wrote, in pages: what any copy of the ledger must know of."""
        names = self._mapping.transactions
        query = {names.created_by: CREATED_BY}
        with translated(), self._transactions.find(query, sort=[("_id", 1)]) as cursor:
            page: list[StatementLine] = []
            for document in cursor:
                line = self._line(document)
                if line is not None:
                    page.append(line)
                if len(page) >= _PAGE:
                    yield page
                    page = []
            if page:
                yield page

    def wallet_versions(self) -> Iterator[tuple[str, str, int]]:
        """(streamer, currency, version) of everything that wallets say they have seen."""
        names = self._mapping.wallets
        fields = {names.user_id: 1, names.ledger: 1}
        with translated(), self._wallets.find({names.ledger: {"$type": "object"}}, fields) as cursor:
            for wallet in cursor:
                ledger, user_id = wallet[names.ledger], text_of(wallet.get(names.user_id))
                # An array of objects passes for an object in a query.
                if user_id is None or not isinstance(ledger, Mapping):
                    continue
                for currency, stored in ledger.items():
                    version = whole_number(stored.get("version")) if isinstance(stored, Mapping) else None
                    if version is not None:
                        yield user_id, currency, version

    def _shown(self, page: Sequence[Document], time: datetime) -> list[ShownPayment]:
        names = self._mapping.participations
        currencies = self._currencies(page)
        shown = []
        for document in page:
            participation = parse_participation(to_record(document, self._names.participation))
            paid_at = date_of(document.get(names.earnings_transferred_at)) or date_of(document.get(names.completed_at))
            if not isinstance(participation, Participation) or (paid_at is not None and paid_at >= time):
                continue
            currency = currencies.get(participation.campaign_id, self._default_currency)
            amount_minor = amount_of(document.get(names.final_earnings), currency)
            if amount_minor is not None and amount_minor < 0:
                amount_minor = None
            shown.append(ShownPayment(participation=participation, amount_minor=amount_minor, currency=currency))
        return shown

    def _currencies(self, page: Sequence[Document]) -> dict[DocumentId, str]:
        field = self._mapping.campaigns.currency
        named = {identity_of(document, self._names.participation["campaign_id"]) for document in page}
        wanted = [to_bson_id(one) for one in named if one is not None]
        found: dict[DocumentId, str] = {}
        for campaign in self._campaigns.find({"_id": {"$in": wanted}}, {field: 1}):
            identity = identity_of(campaign)
            currency = parse_currency(to_plain(campaign.get(field)), self._default_currency)
            if identity is not None and isinstance(currency, str):
                found[identity] = currency
        return found

    def _line(self, document: Document) -> StatementLine | None:
        names = self._mapping.transactions
        metadata: Any = document.get(names.metadata)
        if not isinstance(metadata, Mapping):
            return None
        payout_key, participation_id = text_of(metadata.get("payoutKey")), identity_of(metadata, "participationId")
        # Without a default: a line of ours always has its currency.
        currency = parse_currency(to_plain(document.get(names.currency)), "")
        if payout_key is None or participation_id is None or isinstance(currency, Unreadable) or not currency:
            return None
        amount = amount_of(document.get(names.amount), currency)
        if amount is None:
            return None
        return StatementLine(
            payout_key=payout_key,
            participation_id=participation_id,
            statement_type=text_of(document.get(names.transaction_type)) or "",
            amount_minor=amount,
            currency=currency,
            at=date_of(document.get(names.processed_at)),
        )
