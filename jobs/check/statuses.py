"""Words of a status that nobody knows: one break a word, with how many participations and how much money hang on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from jobs.check.tally import Tally, key_of, words_of
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.money import amount_text

WORDS_NAMED_MAX = 50
"""Unknown status words that get a break each; the rarer ones share one."""


def breaks_of_statuses(tally: Tally, campaigns: Mapping[str, int]) -> list[Break]:
    """A break for each status that is not known. ``campaigns``: word, as it is shown → campaigns that have it."""
    counts = Counter(tally.unknown_count)
    counts.update({key_of("campaign", word): 0 for word in campaigns})
    weights = {key: counts[key] + campaigns.get(words_of(key)[1], 0) for key in counts}
    keys = sorted(counts, key=lambda key: (-weights[key], key))
    named, rest = keys[:WORDS_NAMED_MAX], keys[WORDS_NAMED_MAX:]
    found = [_break_of_status(tally, [key], campaigns) for key in named]
    return [*found, _break_of_status(tally, rest, campaigns)] if rest else found


def _break_of_status(tally: Tally, keys: list[str], campaigns: Mapping[str, int]) -> Break:
    sides = [words_of(key) for key in keys]
    word = f"{sides[0][0]} {sides[0][1]}" if len(keys) == 1 else "others"
    count, reached = (sum(of[key] for key in keys) for of in (tally.unknown_count, tally.unknown_reached))
    of_campaigns = sum(campaigns.get(word, 0) for side, word in sides if side == "campaign")
    minor: Counter[str] = Counter()
    for key, amount in tally.unknown_minor.items():
        *side, currency = words_of(key)
        minor[currency] += amount if side in sides else 0
    shown = [amount_text(amount, currency) for currency, amount in sorted(minor.items()) if amount]
    parts = [f"{of_campaigns} campaigns have it"] if of_campaigns else []
    parts += [f"{count} unpaid participations {'are in them' if of_campaigns else 'have it'}"] if count else []
    how_much = " and ".join(shown) or "nobody knows how much"
    parts += [f"{reached} of them at or past target: {how_much}"] if reached else []
    only = next(iter(+minor)) if len(+minor) == 1 else ""
    return Break(
        kind=BreakKind.STATUS_UNKNOWN,
        reason=word,
        currency=only,
        expected_minor=minor[only] if only else None,
        actual_minor=0 if only else None,
        detail=f"the status {', '.join(word for _, word in sides[:10])} is not known: {', '.join(parts)}",
        is_worse=reached > 0,
    )
