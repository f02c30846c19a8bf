"""The ledger's part of a sweep alone: the product's journal, with requests that are ready and nobody to tell."""

from __future__ import annotations

import time
from datetime import timedelta
from fractions import Fraction
from itertools import islice

from bson.objectid import ObjectId

from benchmarks.support.platform import CURRENCY, PAYMENT_MINOR, RATE, TARGET, Place, Slice, brand_id
from reconciler.clock import utc_now
from reconciler.domain.batch import PostingRules
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, Rule
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.participation import Participation
from reconciler.ledger.database_clock import LedgerClock
from reconciler.ledger.engine import open_engine
from reconciler.ledger.journal.posting import SqlJournal
from reconciler.ledger.migrate import upgrade
from reconciler.ports.journal import BatchStamp, PostingBatch

STAMP = BatchStamp(run_id="benchmark", trigger="benchmark")


def post_only(ledger_url: str, part: Slice, page_size: int) -> float:
    """Post every payout of a slice into an empty ledger, a page a transaction; seconds spent in posting."""
    engine = open_engine(ledger_url)
    upgrade(engine)
    journal = SqlJournal(engine, clock=LedgerClock(), rules=PostingRules(facts_age_max=timedelta(seconds=30)))
    places = part.places()
    posting_s = 0.0
    try:
        while page := list(islice(places, page_size)):
            requests = [_request(place, part.count) for place in page]
            started = time.perf_counter()
            posted = journal.post(PostingBatch(requests=requests), STAMP)
            posting_s += time.perf_counter() - started
            assert len(posted.payout_sequences) == len(page)
    finally:
        engine.dispose()
    return posting_s


def _request(place: Place, payouts_count: int) -> PayoutRequest:
    terms = CampaignTerms(
        campaign_id=_identity(place.campaign_id),
        brand_id=_identity(brand_id()),
        status="active",
        payment_type=PaymentType.CPM,
        rate=Fraction(RATE),
        budget_minor=PAYMENT_MINOR * payouts_count,
        target_impressions=TARGET,
        currency=CURRENCY,
        cooloff_hours=720,
        end_date=None,
        cooloff_was_read=True,
    )
    due = Due(
        participation=Participation(
            participation_id=_identity(place.participation_id),
            campaign_id=terms.campaign_id,
            streamer_id=str(place.streamer_id),
            status="active",
            impressions=TARGET,
            forfeited=False,
            marked_paid=False,
        ),
        terms=terms,
        impressions=TARGET,
        earned=earnings(terms, TARGET, Overdelivery.CAP_AT_TARGET),
        overdelivery=Overdelivery.CAP_AT_TARGET,
        rule=Rule.IMPRESSIONS_TARGET_REACHED,
    )
    return PayoutRequest(due=due, facts_at=utc_now())


def _identity(raw: ObjectId) -> DocumentId:
    return DocumentId(IdKind.OBJECT_ID, str(raw))
