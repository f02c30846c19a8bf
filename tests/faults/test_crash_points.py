"""Die before and after every effect of a sweep, each in turn: one plain sweep mends it, and nobody is paid twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.parts import Parts
from reconciler.config import Settings
from reconciler.domain.effects import Obstacle
from tests.support.dying import DyingSweeps
from tests.support.full_life import CHECK, LASTS_DAYS, SETTINGS, STEPS, Life, opened, take
from tests.support.invariants import ledger_violations, opening, violations
from tests.support.ledger_rows import paid_minor
from tests.support.many_due import many_due
from tests.support.platform import Platform

A_PAGE = 2
"""Participations a transaction, and a bulk write."""

EFFECTS = (
    "campaignparticipations",
    "wallets",
    "reconciler_state",
    "wallets",
    "transactions",
    "gkeys",
    "campaignparticipations",
    "campaigns",
)
"""The first write to wallets gives them an empty record of the ledger, the second credits them."""


@pytest.fixture(scope="module")
def sweeps() -> Iterator[DyingSweeps]:
    with DyingSweeps() as sweeps:
        yield sweeps


def dying_settings(settings: Settings) -> dict[str, object]:
    return {
        "mongodb.uri": settings.mongodb.uri.get_secret_value(),
        "mongodb.database": settings.mongodb.database,
        "ledger.url": settings.ledger.url.get_secret_value(),
        "sweep.page_size": A_PAGE,
        "projection.batch_size": A_PAGE,
    }


def around(*effects: str) -> list[str]:
    return [name for effect in effects for name in (f"before {effect}", f"after {effect}")]


def boundaries_of_one_page() -> list[str]:
    """The run begins; posted; how far the ledger is; told, effect by effect; kept that it was told; the run ends."""
    told = ["findAndModify reconciler_state", *(f"update {collection}" for collection in EFFECTS)]
    return around("a commit", "a commit", *told, "a commit", "a commit")


def test_death_at_every_boundary_is_mended_by_one_sweep(
    sweeps: DyingSweeps, platform: Platform, parts: Parts, settings: Settings
) -> None:
    paid = many_due(platform, A_PAGE)
    before = opening(parts.engine, platform.database)
    whole = sweeps.run(dying_settings(settings))
    assert (whole.by_signal, whole.boundaries) == (0, boundaries_of_one_page())
    assert violations(parts.engine, platform.database, before) == []

    for index, name in enumerate(whole.boundaries):
        place = f"died at boundary {index}, {name}"
        paid |= many_due(platform, A_PAGE)
        before = opening(parts.engine, platform.database)

        died = sweeps.run(dying_settings(settings), die_at=index)

        assert (died.by_signal, died.boundaries) == (signal.SIGKILL, whole.boundaries[: index + 1]), place
        assert ledger_violations(parts.engine, before) == [], place
        parts.sweep.step("test")
        assert paid_minor(parts.engine) == paid, place
        assert violations(parts.engine, platform.database, before) == [], place


def test_a_wallet_saved_anew_after_a_death_is_not_credited_twice(
    sweeps: DyingSweeps, platform: Platform, parts: Parts, settings: Settings
) -> None:
    """A program that saves whole wallets drops the record in them, at the worst moment: after a credit, unheard of."""
    boundaries = boundaries_of_one_page()
    for index in range(boundaries.index("before update wallets"), len(boundaries)):
        paid = many_due(platform, A_PAGE)
        assert sweeps.run(dying_settings(settings), die_at=index).by_signal == signal.SIGKILL
        for wallet in platform.database["wallets"].find():
            wallet.pop("ledger", None)
            platform.database["wallets"].replace_one({"_id": wallet["_id"]}, wallet)

        parts.sweep.step("test")

        place = f"died at boundary {index}, {boundaries[index]}"
        assert paid_minor(parts.engine).items() >= paid.items(), place
        blocked = {one.task.streamer_id: one.blocked.obstacle for one in parts.outbox.blocked()}
        assert set(blocked.values()) <= {Obstacle.BASELINE_LOST}, place
        for wallet in platform.database["wallets"].find():
            gained = wallet["totalEarnings"] - 900.5
            assert gained == 3300 or (gained == 0 and wallet["userId"] in blocked), place


def test_death_after_death_ends_with_everybody_paid_once(
    sweeps: DyingSweeps, platform: Platform, parts: Parts, settings: Settings
) -> None:
    """Each sweep goes on where the one before it died, and dies itself one boundary later; until one gets through."""
    paid = many_due(platform, 2 * A_PAGE + 1)
    before = opening(parts.engine, platform.database)
    deaths = 0
    while sweeps.run(dying_settings(settings), die_at=deaths).by_signal == signal.SIGKILL:
        assert ledger_violations(parts.engine, before) == [], deaths
        deaths += 1

    assert deaths > len(EFFECTS)
    assert paid_minor(parts.engine) == paid
    assert violations(parts.engine, platform.database, before) == []


SHARES = 3
"""The deaths of a full life are shared out among so many tests, which may run beside each other."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_full_life_ends_alike_wherever_it_dies(
    sweeps: DyingSweeps, platform: Platform, parts: Parts, settings: Settings, tmp_path: Path, share: int
) -> None:
    """Fund, hold, approve, pay, complete, release, reverse, repay, refund: killed once at each boundary.

    A life dies in each of its steps: the first life at the first boundary of each, the second at the second, and so on.
    What was cut short is done again. Every ``SHARES``-th of these lives is lived here.
    """
    del parts  # The tables are there.
    deaths = Deaths(sweeps, platform, {**dying_settings(settings), **SETTINGS, "reports.directory": str(tmp_path)})
    steps = [name for name in STEPS if name != CHECK]
    with opened(deaths.settings) as (own, days):
        life = lived(Life(platform, born_on=0), steps, own, days)
        right = life.ledger_rows(own.engine), life.documents(platform)
        dying, die_at = set(steps), share
        while dying:
            life = Life(platform, born_on=life.born_on + LASTS_DAYS)
            for name in steps:
                if name in dying and not deaths.dies(own, life, name, die_at):
                    dying.remove(name)
                lived(life, [name], own, days)
            assert (life.ledger_rows(own.engine), life.documents(platform)) == right, die_at
            die_at += SHARES
    assert len(deaths.boundaries) > 80 // SHARES, deaths.boundaries


@pytest.mark.timeout(900)
def test_a_full_check_ends_alike_wherever_it_dies(
    sweeps: DyingSweeps, platform: Platform, parts: Parts, settings: Settings, tmp_path: Path
) -> None:
    """The check comes after a whole life, and looks at everybody; the ledger is afterwards as it was."""
    del parts  # The tables are there.
    deaths = Deaths(sweeps, platform, {**dying_settings(settings), **SETTINGS, "reports.directory": str(tmp_path)})
    with opened(deaths.settings) as (own, days):
        life = lived(Life(platform, born_on=0), [name for name in STEPS if name != CHECK], own, days)
        right = life.ledger_rows(own.engine), life.documents(platform)
        die_at = 0
        while deaths.dies(own, life, CHECK, die_at):
            die_at += 1
        lived(life, [CHECK], own, days)
        assert (life.ledger_rows(own.engine), life.documents(platform)) == right
    assert len(deaths.boundaries) >= 16, deaths.boundaries


class Deaths:
    """Steps of lives that are killed at a boundary, and what each died at."""

    def __init__(self, sweeps: DyingSweeps, platform: Platform, settings: dict[str, object]) -> None:
        self.settings = settings
        self.boundaries: list[str] = []
        self._sweeps = sweeps
        self._platform = platform

    def dies(self, own: Parts, life: Life, name: str, die_at: int) -> bool:
        """Take a step that dies at a boundary; False when it has fewer of them, and went through."""
        before = opening(own.engine, self._platform.database)
        died = self._sweeps.run(self.settings, die_at=die_at, step=(name, life.participation_id, life.born_on))
        assert died.boundaries, (name, die_at)
        assert ledger_violations(own.engine, before) == [], (name, die_at, died.boundaries[-1])
        self.boundaries.append(f"{name}: {died.boundaries[-1]}")
        return died.by_signal == signal.SIGKILL


def lived(life: Life, some: Sequence[str], own: Parts, days: list[int]) -> Life:
    """Take some steps of a life to their end."""
    for name in some:
        take(name, own, days, life.participation_id, life.born_on)
    return life
