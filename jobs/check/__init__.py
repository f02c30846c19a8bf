"""The full check: everybody against the ledger and its effects, partition by partition, and the report of it."""
