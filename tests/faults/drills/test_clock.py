"""A host whose clock is wrong does not post, says so, and pays as soon as the clock is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.drills import Drill

SHIFTED = Path(__file__).parents[2] / "support" / "shifted_clock"


def set_clock(shift: Path, shift_s: int) -> None:
    """At once: whoever reads the file finds a number."""
    new = shift.with_suffix(".new")
    new.write_text(str(shift_s))
    new.replace(shift)


@pytest.mark.parametrize("shift_s", [pytest.param(-35 * 86_400, id="behind"), pytest.param(86_400, id="ahead")])
def test_the_clock_of_a_host_is_wrong(drill: Drill, shift_s: int, tmp_path: Path) -> None:
    """The clock of the daemon's host is wrong, and is set right."""
    drill.fault += " (35 days behind)" if shift_s < 0 else " (a day ahead)"
    shift = tmp_path / "shift_s"
    set_clock(shift, 0)
    drill.start(PYTHONPATH=str(SHIFTED), SHIFTED_CLOCK_FILE=str(shift))
    drill.pay_one()
    drill.begin_fault()
    set_clock(shift, shift_s)
    participation_id = drill.due()
    drill.wait_until_said("clock")
    drill.last()
    assert not drill.ledger.is_paid(participation_id)

    set_clock(shift, 0)
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()
