"""What the jobs are made of: pure rules, a ledger in SQL, the facts in MongoDB, comparison, reports, queries, the API.

Imports go down only: api → queries → comparison | reports | ledger | mongo | webhooks → deciding → ports → config →
domain → errors. The packages between bars do not know each other; import-linter checks it (pyproject.toml).
"""

VERSION = "0.1.0"
"""Of this program; pyproject.toml has the same."""
