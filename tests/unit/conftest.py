"""How hypothesis searches: as long as it needs for an example, and in CI the same way every time.

A failure in CI is then one that the next run shows again; fresh examples are looked for everywhere else.
"""

from __future__ import annotations

import os

from hypothesis import settings

from tests.support.examples import examples

settings.register_profile("desk", deadline=None, max_examples=examples(100))
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
