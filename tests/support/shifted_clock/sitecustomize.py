"""Lets the product see a host's clock that is wrong: ahead by SHIFTED_CLOCK_S seconds, or behind where it is negative.

SHIFTED_CLOCK_FILE names a file with such a number instead, which may change while the product runs.

Python imports this before everything else when this directory is on PYTHONPATH::

    PYTHONPATH=tests/support/shifted_clock SHIFTED_CLOCK_S=86400 python run.py --once

Only what asks :func:`reconciler.clock.utc_now` is shifted, which is all that the product judges payments by. Timed
waits go by the monotonic clock and are left alone, and so are the clocks of the databases.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from reconciler import clock

FILE = os.environ.get("SHIFTED_CLOCK_FILE")
SHIFT_S = os.environ.get("SHIFTED_CLOCK_S", "0")


def shifted_now() -> datetime:
    shift_s = float(Path(FILE).read_text(encoding="utf-8") if FILE else SHIFT_S)
    return clock.whole_milliseconds(datetime.now(UTC) + timedelta(seconds=shift_s))


vars(clock)["utc_now"] = shifted_now
