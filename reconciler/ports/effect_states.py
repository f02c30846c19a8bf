"""What MongoDB shows of payouts, looked up for many at once. ``reconciler.mongo`` implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.domain.breaks import BreakKind
from reconciler.domain.effects import WalletPosition
from reconciler.domain.ids import DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletFault:
    """A wallet that does not say what the ledger does. ``shown_minor``: what it says, as ``expected_minor``.

    ``is_repairable``: its record of the ledger is behind, and can be projected again. The other faults are a person's.
    """

    streamer_id: str
    currency: str
    expected_minor: int
    shown_minor: int | None
    detail: str
    kind: BreakKind = BreakKind.WALLET_DRIFT
    field: str = ""
    """The shared field that contradicts the ledger; empty for the record itself."""

    @property
    def is_repairable(self) -> bool:
        return self.kind is BreakKind.WALLET_DRIFT and not self.field

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same fault when it is looked at again."""
        return self.streamer_id, self.currency, self.field


class EffectStates(Protocol):
    """What MongoDB shows of payouts, looked up for many at once."""

    def odd_lines(self, lines: Sequence[tuple[str, int, str]]) -> set[str]:
        """Which of some (entry key, amount in minor units, currency) have no statement line that says so."""
        ...

    def locked(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of some (streamer, plain campaign) have a G-key that this campaign still locks."""
        ...

    def wallet_faults(self, accounts: Sequence[WalletPosition]) -> list[WalletFault]:
        """Wallets that say less, or something else, than they acknowledged or we left in them."""
        ...

    def stale_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> dict[DocumentId, str]:
        """Campaigns that are settled and do not say so: identity → what is wrong, in words."""
        ...
