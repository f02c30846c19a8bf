"""The sections of the configuration and the whole of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from reconciler.config import checks
from reconciler.config.api import ApiSettings
from reconciler.config.mapping import MappingSettings
from reconciler.config.section import CaseInsensitive, Seconds, Section, Whole
from reconciler.config.webhooks import WebhookSettings
from reconciler.redaction import redact

CurrencyAmounts = Annotated[dict[str, str], BeforeValidator(checks.currency_amounts)]
"""Currency → exact decimal text of major units. In an environment variable: INR=100000,JPY=5000."""

Impressions = Annotated[Whole, Field(ge=1, le=1_000_000_000)]

DECISION_SECTIONS = ("mapping", "completion", "payout", "safety")
"""What can change who is paid and how much. The rest says where, when and how fast."""


class MongodbSettings(Section):
    """Where the facts are."""

    uri: Annotated[SecretStr, AfterValidator(checks.mongodb_uri)] = SecretStr("mongodb://localhost:27017/")
    """Connection string of the replica set. Without directConnection, so that the primary is found also after a
    failover: a direct connection to a secondary would quietly read facts that are behind."""
    database: Annotated[str, AfterValidator(checks.database_name)] = "sponsorship"
    """The database that holds the platform's collections. A URI that ends in /NAME names it too; this setting wins
    over a URI of the same place (the file, the environment, a flag) or of a weaker one."""
    wait_max_s: Seconds = 15
    """Seconds a command waits for a primary before it gives up with exit code 3: longer than an election (about 12),
    shorter than people's patience. The daemon goes on trying."""


class LedgerSettings(Section):
    """Where the payments are recorded: the system of record."""

    url: Annotated[SecretStr, AfterValidator(checks.ledger_url)] = SecretStr("sqlite:///ledger.db")
    """SQLAlchemy URL. SQLite beside the working directory serves a first run; PostgreSQL
    (postgresql://user:password@host/database) serves production."""
    wait_max_s: Seconds = 15
    """Seconds a command waits for the database, or for a lock in it, before it gives up with exit code 3. The daemon
    says who holds the lock, and tries again. A session of this program whose process has been frozen for as long loses
    its lock to whoever waits."""
    statement_timeout_s: Seconds = 900
    """Seconds that PostgreSQL may work on one statement: more than the largest sum of a check over millions of rows
    takes. A statement that PostgreSQL does not work on is given up after seconds, whatever this says."""


class CompletionSettings(Section):
    """When a participation is complete."""

    fixed_impressions_per_unit: Whole = Field(default=1000, ge=1, le=1_000_000_000)
    """Impressions per major unit of budget: the target of a fixed campaign that names none."""
    scope: Literal["streamer", "campaign"] = "streamer"
    """Whose impressions are compared with the target: streamer takes each participation by itself, campaign takes all
    of a campaign together, who then share one pool. campaign costs a look at every active participation a sweep."""
    impressions_target_reached: bool = True
    """Whether reaching the target completes a participation. The main rule; off only to try others alone."""
    budget_exhausted: bool = False
    """Whether a used-up budget settles all active participations. Off: brands may still raise it."""
    budget_used_percent: Whole = Field(default=95, ge=1, le=100)
    """Percent of the budget from which it counts as used up: the last few percent rarely buy a useful run."""
    campaign_ended: bool = False
    """Whether a passed end date settles all active participations. Off: dates are often moved after the fact."""
    campaign_inactive: bool = False
    """Whether seven days without a stream settle all active participations. Off: streamers take holidays."""


class PayoutSettings(Section):
    """How much is paid, and whether."""

    enabled: bool = True
    """False decides and reports but pays nothing: the switch to turn first when something looks wrong."""
    default_currency: Annotated[str, AfterValidator(checks.currency)] = "INR"
    """ISO 4217 code for documents without one: the currency the platform began with."""
    overdelivery: Literal["cap_at_target", "pay"] = "cap_at_target"
    """cap_at_target pays for impressions up to the target, since the brand ordered no more; pay pays for all."""
    platform_fee_bps: Whole = Field(default=0, ge=0, le=10_000)
    """Basis points (1/100 percent) that the platform keeps of each payout; none unless the contract says so."""
    hold_days: Whole = Field(default=0, ge=0, le=365)
    """Days that earnings lie in the streamer's held balance before they can be withdrawn; none: paid is paid."""
    refund_grace_days: Whole = Field(default=7, ge=0, le=3650)
    """Days after a campaign's end before what is left in escrow returns to the brand: time for late corrections."""
    approval_threshold: CurrencyAmounts = Field(default_factory=dict)
    """Currency to major units: a payout of at least this gross amount waits for a person. Empty: none waits."""
    four_eyes: bool = False
    """True: what one person asks for (a reversal, say), another one has to approve."""


class SafetySettings(Section):
    """Limits beyond which paying halts, or a payout waits, until a person has looked."""

    payouts_per_hour_max: Whole = Field(default=200_000, ge=1, le=1_000_000_000)
    """Payouts within an hour, whatever set them off: far above a good day, far below an emptied platform."""
    amount_per_hour_max: CurrencyAmounts = Field(default_factory=dict)
    """Currency to major units paid within an hour. Empty: only the number of payouts is limited."""
    clock_skew_max_s: Seconds = 5
    """Seconds that this host's clock and that of the ledger's database may differ before nothing is posted from here:
    machines that keep their time by NTP differ by milliseconds, and facts are judged by a host's time."""
    impressions_per_minute_max: Annotated[Impressions | None, BeforeValidator(checks.off)] = None
    """Impressions a minute since a participation was made: one that ran faster is held for a person. null: none is
    judged. Ten thousand is an audience of as many who see it every minute; what runs faster may well be a script."""


class ProjectionSettings(Section):
    """How the effects of a payment reach MongoDB."""

    batch_size: Whole = Field(default=1000, ge=1, le=100_000)
    """Payouts projected in one round of bulk writes: a majority write costs a millisecond whatever it carries, so
    that many go together."""
    blocked_retry_s: Seconds = 300
    """Seconds until an effect that cannot be applied (a wallet missing, say) is tried again: somebody has to repair
    the document first."""
    overdue_s: Seconds = 300
    """Seconds after a payment by which MongoDB must show it, or a check says so: far more than any round takes, and
    soon enough that nobody asks where their money is."""


class SweepSettings(Section):
    """The search for all that is due."""

    interval_s: Seconds = 60
    """Seconds between the beginnings of two sweeps: the longest a payment waits when every event was lost."""
    page_size: Whole = Field(default=2000, ge=1, le=100_000)
    """Participations read, decided and posted in one transaction: enough for full speed, few enough to bound memory
    and the time the ledger's lock is held."""
    facts_age_max_s: Seconds = 30
    """Seconds after which a decision that still waits for the lock is taken again from fresh facts."""
    deadline_s: Seconds = 3600
    """Seconds after which a sweep is given up and reported as stuck: far more than a sweep of everything takes."""
    lease_ttl_s: Seconds = 15
    """Seconds after which a daemon that fell silent has lost the lease on paying, and another takes over. Renewed three
    times as often: longer than a pause of the machine or the network, shorter than what people would notice."""


class WatchSettings(Section):
    """The stream of MongoDB's changes: whoever becomes due is paid within milliseconds instead of at the next sweep."""

    enabled: bool = True
    """False: no stream; sweeps alone find what is due, and hints from the API are still looked at at once."""
    retry_s: Seconds = 5
    """Seconds after which an interrupted stream is opened again: about an election. Doubled up to retry_max_s."""
    retry_max_s: Seconds = 60
    """Seconds that a retry waits at most: no longer than a sweep, which looks at everything anyway."""
    healthy_s: Seconds = 120
    """Seconds after which a stream counts as sound, so that its next failure is retried after retry_s again."""
    recheck_s: Seconds = 300
    """Seconds between two looks whether a server without change streams, or a user who may not watch, has them now."""
    campaign_interval_ms: Whole = Field(default=1000, ge=1, le=3_600_000)
    """Milliseconds in which a campaign is looked at once, however many of its participations change: in scope campaign
    each look reads all of them."""
    batch_max: Whole = Field(default=500, ge=1, le=10_000)
    """Participations settled at once while many change: enough for speed, few enough that none waits long."""
    queue_max: Whole = Field(default=100_000, ge=1, le=10_000_000)
    """Changed documents that wait, at some 500 bytes each; with one more, all of them become one sweep."""
    await_s: Seconds = 1
    """Seconds that MongoDB holds its answer while nothing happens: the stream's heartbeat."""
    silence_max_s: Seconds = 10
    """Seconds beyond await_s after which a silent connection counts as dead: more than a busy server's pause."""
    open_max_s: Seconds = 20
    """Seconds that opening may take: looking for the position in a long oplog is slower than a sweep."""
    keep_s: Seconds = 5
    """Seconds between two writes of the stream's position: a restart reads again at most that much."""
    stall_s: Seconds = 60
    """Seconds of silence after which the watch's thread is replaced: more than any of its waits."""


class FullCheckSettings(Section):
    """The comparison of both databases, whole population."""

    cron: Annotated[str, AfterValidator(checks.cron)] = "30 3 * * *"
    """When it runs, in five cron fields, UTC, weekdays by name: by default 03:30, which is 09:00 in India, so that
    the report is there when people come to work."""
    partition_size: Whole = Field(default=100_000, ge=1, le=1_000_000)
    """Participations compared at once, as columns: bounds memory, at some 1.5 kB each."""
    page_size: Whole = Field(default=5000, ge=1, le=100_000)
    """Participations judged one by one that are read, repaired and paid together: bounds the time of one batch."""
    resume_within_s: Seconds = 3600
    """Seconds for which a check that was interrupted can be continued: what it found then is still worth telling."""
    whole_chain_days: Whole = Field(default=7, ge=0, le=3650)
    """Days after which a check walks the whole hash chain again, and not only what came since; 0: always."""
    recorded_budgets: bool = False
    """Whether remainingBudget of cpm campaigns has to follow from their participations' impressions, to the minor unit:
    for platforms where this program alone records. Off, since a platform that counts otherwise would be all breaks."""


class HousekeepingSettings(Section):
    """What has to be done from time to time."""

    interval_s: Seconds = 60
    """Seconds between two rounds: what it does is due to the hour or day, so a minute is soon."""


class ReportsSettings(Section):
    """What people read afterwards."""

    directory: Path = Path("reports")
    """Folder of the report files, made when missing; relative to the working directory, beside the default ledger."""
    timezone: Annotated[str, AfterValidator(checks.time_zone)] = "Asia/Kolkata"
    """IANA time zone of times shown to people; files for machines hold UTC."""
    json_breaks_max: Whole = Field(default=1000, ge=0, le=1_000_000)
    """Breaks listed in the JSON report, so that it stays readable; the other formats have all of them."""
    keep: Whole = Field(default=400, ge=1, le=1_000_000)
    """Reports kept, the newest, each with all of its files: a year of daily checks and some by hand, since auditors ask
    for a year. latest.* always stay."""


class LogSettings(Section):
    """What goes to stderr."""

    format: Annotated[Literal["auto", "json", "console"], CaseInsensitive] = "auto"
    """auto is console on a terminal and plain lines elsewhere; json is for collectors; console forces colours."""
    level: Annotated[Literal["debug", "info", "warning", "error"], CaseInsensitive] = "info"
    """The lowest level written: info tells every payment, warning only what a person should look at."""


class Settings(Section):
    """The whole configuration. ``Settings()`` is all defaults; :func:`reconciler.config.load` reads the real one."""

    mongodb: MongodbSettings = Field(default_factory=MongodbSettings)
    """Where the facts are."""
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    """Where the payments are recorded: the system of record."""
    mapping: MappingSettings = Field(default_factory=MappingSettings)
    """The platform's names of collections and fields, each under ours."""
    completion: CompletionSettings = Field(default_factory=CompletionSettings)
    """When a participation is complete."""
    payout: PayoutSettings = Field(default_factory=PayoutSettings)
    """How much is paid, and whether."""
    safety: SafetySettings = Field(default_factory=SafetySettings)
    """Limits beyond which paying halts, or a payout waits, until a person has looked."""
    projection: ProjectionSettings = Field(default_factory=ProjectionSettings)
    """How the effects of a payment reach MongoDB."""
    sweep: SweepSettings = Field(default_factory=SweepSettings)
    """The search for all that is due."""
    watch: WatchSettings = Field(default_factory=WatchSettings)
    """The stream of MongoDB's changes: whoever becomes due is paid within milliseconds instead of at the next sweep."""
    full_check: FullCheckSettings = Field(default_factory=FullCheckSettings)
    """The comparison of both databases, whole population."""
    housekeeping: HousekeepingSettings = Field(default_factory=HousekeepingSettings)
    """What has to be done from time to time."""
    reports: ReportsSettings = Field(default_factory=ReportsSettings)
    """What people read afterwards."""
    api: ApiSettings = Field(default_factory=ApiSettings)
    """The API and the pages, inside the daemon."""
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    """Who is told of payments and the like, signed by the Standard Webhooks scheme."""
    log: LogSettings = Field(default_factory=LogSettings)
    """What goes to stderr."""

    def masked(self) -> dict[str, Any]:
        """The effective settings as plain JSON types, credentials struck out: for people and bug reports.

        A secret without a masked form of its own stays asterisks, so that a new one cannot slip out.
        """
        plain = self.model_dump(mode="json")
        plain["mongodb"]["uri"] = redact(self.mongodb.uri.get_secret_value())
        plain["ledger"]["url"] = redact(self.ledger.url.get_secret_value())
        plain["webhooks"]["endpoints"] = self.webhooks.masked_endpoints()
        return plain

    def fingerprint(self) -> str:
        """16 hex digits over the settings that influence decisions: two runs that share it decide alike."""
        decisive = self.model_dump(mode="json", include=set(DECISION_SECTIONS))
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
