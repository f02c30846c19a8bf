"""What MongoDB is told, in the order that makes the last effect a receipt for the rest."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from reconciler.domain.effects import BlockedEffect, Effect, Obstacle, ProjectionResult


def test_the_effects_are_in_their_order() -> None:
    # The receipt comes last of a participation's own: it says that all before it was done. A campaign is completed
    # only when all of its participations have theirs.
    assert [effect.value for effect in Effect] == [
        "ledger_state",
        "participation",
        "wallet",
        "transaction",
        "gkeys",
        "receipt",
        "campaign",
    ]


@pytest.mark.parametrize("value", [*Effect, *Obstacle])
def test_what_the_outbox_stores_reads_back_as_itself(value: Effect | Obstacle) -> None:
    assert type(value)(str(value)) is value


def test_every_obstacle_of_a_wallet_says_so() -> None:
    of_wallets = {obstacle.value for obstacle in Obstacle if obstacle.value.startswith("wallet_")}

    assert of_wallets == {
        "wallet_missing",
        "wallet_ambiguous",
        "wallet_type",
        "wallet_inactive",
        "wallet_currency",
        "wallet_malformed",
    }


def test_a_result_shares_nothing_with_another() -> None:
    first, second = ProjectionResult(done=[1], blocked={}), ProjectionResult(done=[2], blocked={})

    assert first.wallets == {}
    assert first.wallets is not second.wallets
    assert first.campaigns_completed == ()


def test_a_blocked_effect_does_not_change() -> None:
    blocked = BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.WALLET_MISSING)

    with pytest.raises(FrozenInstanceError):
        blocked.effect = Effect.RECEIPT  # type: ignore[misc]
