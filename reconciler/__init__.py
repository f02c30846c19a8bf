"""What the jobs are made of: a pure domain, a ledger in SQL, the facts in MongoDB, reports.

Imports go down only (checked by import-linter): reports | ledger | mongo → ports, status → config → domain → errors.
"""
