"""What is left of a campaign's budget beside what its participations' counters say of it, from one snapshot.

Recording changes both in one transaction. Read one after the other, a report that came in between would look like
a drift; so without snapshots (a standalone server, where nothing can be recorded) nothing is said.
"""

from __future__ import annotations

from bson.objectid import ObjectId

from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import CampaignDefaults, CampaignTerms, PaymentType, parse_campaign
from reconciler.domain.ids import DocumentId
from reconciler.domain.parsing import parse_count
from reconciler.domain.recording import budget_drift_minor
from reconciler.mongo.connection import Connection, is_standalone
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.names import CAMPAIGN_FACTS
from reconciler.mongo.values import amount_of, to_bson_id, to_plain, to_record
from reconciler.ports.scanning import RecordedBudget

_IMPRESSIONS_A_READ = 10_000


class MongoRecordedBudgets:
    """Compares one campaign at a time. Raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings, defaults: CampaignDefaults) -> None:
        self._connection = connection
        self._campaigns = connection.database[mapping.collections.campaigns]
        self._participations = connection.database[mapping.collections.participations]
        self._campaign_names = {ours: getattr(mapping.campaigns, ours) for ours in CAMPAIGN_FACTS}
        self._remaining_budget = mapping.campaigns.remaining_budget
        self._member_names = mapping.participations
        self._defaults = defaults

    def read(self, campaign_id: DocumentId) -> RecordedBudget | None:
        """Compare one campaign. None where it is no cpm campaign, or a field of it or of a member cannot be read."""
        raw_id, names = to_bson_id(campaign_id), self._member_names
        if is_standalone(self._connection):
            return None
        with translated(), self._connection.client.start_session(snapshot=True) as session:
            fields = dict.fromkeys((*self._campaign_names.values(), self._remaining_budget), 1)
            document = self._campaigns.find_one({"_id": raw_id}, fields, session=session)
            if document is None:
                return None
            terms = parse_campaign(campaign_id, to_record(document, self._campaign_names), self._defaults)
            if not isinstance(terms, CampaignTerms) or terms.payment_type is not PaymentType.CPM:
                return None
            remaining_minor = amount_of(document.get(self._remaining_budget), terms.currency)
            if remaining_minor is None:
                return None
            # A list that holds the identity is nobody's; `$type` keeps it out.
            kind = "objectId" if isinstance(raw_id, ObjectId) else "string"
            query = {names.campaign_id: {"$eq": raw_id, "$not": {"$type": "array"}, "$type": kind}}
            members = self._participations.find(query, {names.impressions: 1, "_id": 0}, session=session)
            with members.batch_size(_IMPRESSIONS_A_READ) as cursor:
                counted = [parse_count(to_plain(member.get(names.impressions))) for member in cursor]
        impressions = [count for count in counted if isinstance(count, int)]
        if len(impressions) < len(counted):
            # Named as malformed by itself; what it accrued, nobody knows.
            return None
        return RecordedBudget(
            currency=terms.currency,
            budget_minor=terms.budget_minor,
            remaining_minor=remaining_minor,
            drift_minor=budget_drift_minor(terms, remaining_minor, impressions),
        )
