"""What the jobs are made of: a pure domain, a ledger in SQL, the facts in MongoDB, reports.

Imports go down only (checked by import-linter): reports | ledger | mongo → ports, status → config → domain → errors.
"""

VERSION = "0.1.0"
"""Of this program; pyproject.toml has the same."""
