"""Faults that verification finds: collected up to a limit, and never without the first of a kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from reconciler.ports.integrity import IntegrityFault

FAULTS_MAX_A_KIND = 100
"""Faults of one kind that are listed; the rest is counted."""


class Faults:
    """What was found so far. Of each kind the first hundred are kept, and the number of the rest."""

    def __init__(self) -> None:
        self._kept: list[IntegrityFault] = []
        self._counts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, kind: str, detail: str, *, batch: int | None = None, sequence: int | None = None) -> None:
        """Note a fault, with its batch and entry where they are known."""
        self._counts[kind] += 1
        fault = IntegrityFault(kind=kind, detail=detail, batch=batch, sequence=sequence)
        if self._counts[kind] <= FAULTS_MAX_A_KIND:
            self._kept.append(fault)
            return
        # Accounts are walked by name, so an earlier entry may come later: the first one must never be dropped.
        of_kind = [index for index, one in enumerate(self._kept) if one.kind == kind]
        last = max(of_kind, key=lambda index: order(self._kept[index]))
        if order(fault) < order(self._kept[last]):
            self._kept[last] = fault

    def in_order(self) -> tuple[IntegrityFault, ...]:
        """By batch and entry, what has neither last; with a last line where some were not listed."""
        found = sorted(_completed(self._kept), key=order)
        for kind, count in sorted(self._counts.items()):
            if count > FAULTS_MAX_A_KIND:
                found.append(IntegrityFault(kind=kind, detail=f"and {count - FAULTS_MAX_A_KIND} more of this kind"))
        return tuple(found)


def order(fault: IntegrityFault) -> tuple[float, float]:
    """Where in the ledger a fault lies; what concerns the whole of it, or an account, comes last."""
    batch = float("inf") if fault.batch is None else float(fault.batch)
    return batch, float("inf") if fault.sequence is None else float(fault.sequence)


def _completed(found: Iterable[IntegrityFault]) -> Iterable[IntegrityFault]:
    """A batch whose hash is wrong does not say which row; another fault of the same batch may."""
    found = list(found)
    first_of_batch: dict[int, int] = {}
    for one in found:
        if one.batch is not None and one.sequence is not None:
            first_of_batch[one.batch] = min(one.sequence, first_of_batch.get(one.batch, one.sequence))
    for one in found:
        if one.sequence is None and one.batch in first_of_batch:
            sequence = first_of_batch[one.batch]
            yield IntegrityFault(kind=one.kind, detail=one.detail, batch=one.batch, sequence=sequence)
        else:
            yield one
